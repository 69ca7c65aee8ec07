"""Networks for segmentation: what becomes of a classification network's layers, and of its weights."""

import copy

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d
from torchdau.models import FCNAlexNet, alexnet, cifar_resnetv2, dau_alexnet, dau_cifar_resnetv2
from torchdau.models.deeplab import ResNetEncoder
from torchdau.models.resolution import enlarge, spread_
from torchdau.surgery.units import Pooled

SMALL = {"widths": (4, 6, 8, 8, 6), "hidden": 16}


def layers_of(network):
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | DAUConv2d)]


@pytest.mark.parametrize("unit", [True, False])
def test_a_spread_layer_reads_every_other_pixel(unit):
    """Its output is that of the layer itself on a quarter of the pixels."""
    torch.manual_seed(0)
    layer = DAUConv2d(3, 4, interpolation="bilinear", sigma=0.3) if unit else nn.Conv2d(3, 4, 3, padding=1)
    if unit:
        with torch.no_grad():
            layer.displacement.round_().clamp_(-2, 2)
    sparse = torch.zeros(1, 3, 40, 40)
    sparse[..., ::2, ::2] = torch.randn(1, 3, 20, 20)
    before = layer(sparse[..., ::2, ::2])
    spread_(layer, 2)
    after = layer(sparse)[..., ::2, ::2]
    if unit:  # the Gaussian is as wide as before, in pixels that are half as large: what is left is its middle
        assert layer.max_displacement == 8
        assert torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1] > 0.98
    else:
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("make", [alexnet, dau_alexnet])
def test_fcn_alexnet(make):
    classifier = make(num_classes=7, **SMALL)
    before = copy.deepcopy(classifier)
    network = FCNAlexNet(classifier, num_classes=5)
    assert [m.kernel_size for m in network.features if isinstance(m, nn.MaxPool2d)] == [3]
    assert network.features(torch.randn(1, 3, 65, 90)).shape == (1, 6, 9, 12)  # an eighth, rounded up
    assert network(torch.randn(1, 3, 65, 90)).abs().max() == 0
    assert network(torch.randn(1, 3, 65, 90)).shape == (1, 5, 65, 90)
    old, new = layers_of(before), layers_of(network)
    for index, (a, b) in enumerate(zip(old, new, strict=False)):
        assert torch.equal(a.weight, b.weight)
        factor = 2 if index >= 2 else 1
        if isinstance(a, DAUConv2d):
            assert torch.equal(a.displacement * factor, b.displacement)
            assert b.max_displacement == 4 * factor
        else:
            assert b.dilation == (factor, factor)
    assert network.head[1].dilation == (4, 4)
    assert torch.equal(network.head[1].weight.flatten(1), before.classifier[1].weight)
    assert torch.equal(network.head[4].weight.flatten(1), before.classifier[4].weight)


def test_without_spreading():
    network = FCNAlexNet(alexnet(**SMALL), spread=False)
    assert {layer.dilation for layer in layers_of(network.features)} == {(1, 1)}
    assert network.head[1].dilation == (4, 4)  # the same in all, so that convolutions alone differ
    assert network(torch.randn(1, 3, 40, 48)).shape == (1, 21, 40, 48)


def test_the_deep_part_sees_what_it_saw_as_a_classifier():
    """Where the pools lie on pixels that repeat, a plain network without norms and borders tells the same."""
    torch.manual_seed(0)
    conv = nn.Sequential(Pooled((2, 2), nn.Conv2d(2, 3, 3, padding=1)))
    image = torch.randn(1, 2, 10, 10).repeat_interleave(2, 2).repeat_interleave(2, 3)
    before = conv(image)
    after = spread_(conv[0][1], 2)(image)
    torch.testing.assert_close(after[..., ::2, ::2], before)


@pytest.mark.parametrize("make", [cifar_resnetv2, dau_cifar_resnetv2])
@pytest.mark.parametrize("spread", [True, False])
def test_residual_networks(make, spread):
    classifier = make(14)
    stage = copy.deepcopy(classifier.stages[-1])
    encoder = ResNetEncoder(classifier, spread)
    assert not [m for m in encoder.stages[-1].modules() if isinstance(m, Pooled)]
    assert [m for m in encoder.stages[-2].modules() if isinstance(m, Pooled)]
    for a, b in zip(layers_of(stage), layers_of(encoder.stages[-1]), strict=True):
        factor = 2 if spread else 1
        if isinstance(a, DAUConv2d):
            assert torch.equal(a.displacement * factor, b.displacement)
        elif a.kernel_size != (1, 1):
            assert (b.dilation, b.padding) == ((factor, factor),) * 2
        else:
            assert (b.dilation, b.padding) == ((1, 1), (0, 0))
    low, high = encoder.eval()(torch.randn(1, 3, 33, 50))
    assert (low.shape, high.shape) == ((1, 16, 33, 50), (1, 64, 17, 25))


def test_features_are_not_stretched():
    """What lies at 16 i stays there, whatever the size of the image: a ramp of the features is one of the pixels."""
    ramp = torch.arange(49.0).expand(1, 1, 3, 49)
    image = enlarge(ramp, 16, (40, 769))
    assert image.shape == (1, 1, 40, 769)
    inner = image[0, 0, 0, 8:-24]
    torch.testing.assert_close(inner, (torch.arange(8.0, 745.0) - 7.5) / 16)
