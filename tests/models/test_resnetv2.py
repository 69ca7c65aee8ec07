"""The paper's changes to timm's ResNet v2: max-pools, and units for 3 x 3."""

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d
from torchdau.models import ASPP, cifar_resnetv2, dau_6u, dau_cifar_resnetv2, dau_resnetv2, resnetv2
from torchdau.surgery.units import Pooled


@pytest.mark.parametrize("make", [resnetv2, dau_resnetv2])
def test_max_pools_take_the_strides_of_all_levels_but_the_first(make):
    network = make("resnetv2_50", num_classes=5)
    pooled = [name for name, module in network.named_modules() if isinstance(module, Pooled)]
    assert len(pooled) == 6  # in three stages, the 3 x 3 convolution and the shortcut
    assert {name.split(".")[1] for name in pooled} == {"1", "2", "3"}
    assert network.stem.conv.stride == (2, 2)
    strided = [m for m in network.modules() if isinstance(m, nn.Conv2d | DAUConv2d) and m.stride != (1, 1)]
    assert strided == [network.stem.conv]
    assert network.eval()(torch.randn(1, 3, 64, 96)).shape == (1, 5)


def test_units_in_place_of_3x3():
    network = dau_resnetv2("resnetv2_50")
    layers = [module for module in network.modules() if isinstance(module, DAUConv2d)]
    assert len(layers) == 16
    assert not [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    for layer in layers:
        assert layer.num_units == 2
        assert 1.45 < layer.displacement.abs().max() <= 1.5


def test_native_strides():
    network = dau_resnetv2("resnetv2_50", pool=False)
    assert not [m for m in network.modules() if isinstance(m, Pooled)]
    assert [m.stride for m in network.modules() if isinstance(m, DAUConv2d)].count((2, 2)) == 3


@pytest.mark.parametrize("make", [cifar_resnetv2, dau_cifar_resnetv2])
def test_small_networks(make):
    network = make(20)
    kernels = [m for m in network.modules() if isinstance(m, DAUConv2d) or getattr(m, "kernel_size", 0) == (3, 3)]
    assert len(kernels) == 19
    sizes = []
    for stage in network.stages:
        stage.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[1:])))
    assert network.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert sizes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_units_of_small_networks():
    plain, units = cifar_resnetv2(14), dau_cifar_resnetv2(14, num_units=3)
    weights = sum(
        m.weight.numel() for m in plain.modules() if getattr(m, "kernel_size", 0) == (3, 3) and hasattr(m, "weight")
    )
    layers = [module for module in units.modules() if isinstance(module, DAUConv2d)]
    assert len(layers) == 13
    assert sum(layer.weight.numel() for layer in layers) * 9 == weights * 3


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_a_depth_that_is_none(depth):
    with pytest.raises(ValueError, match=f"depth must be 6 n .* got depth={depth}"):
        cifar_resnetv2(depth)


def test_the_pyramid_reads_at_its_dilations():
    pyramid = ASPP(1, 1, dilations=(1, 3))
    with torch.no_grad():
        for branch in pyramid.branches:
            branch.weight.fill_(1)
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    near, far = pyramid(image)[0]
    assert near.nonzero().unique().tolist() == [3, 4, 5]
    assert far.nonzero().unique().tolist() == [1, 4, 7]
    assert dau_6u(4, 8)(torch.randn(1, 4, 9, 9)).shape == (1, 8, 9, 9)
