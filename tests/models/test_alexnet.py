"""AlexNet: the order of its layers, the sizes of its features, its units."""

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d
from torchdau.models import alexnet, cifar_alexnet, dau_alexnet, dau_cifar_alexnet

PLAN = [
    "conv",
    "relu",
    "pool",
    "norm",
    "conv",
    "relu",
    "pool",
    "norm",
    "conv",
    "relu",
    "conv",
    "relu",
    "conv",
    "relu",
    "pool",
]
KINDS = {"conv": (nn.Conv2d, DAUConv2d), "relu": nn.ReLU, "pool": nn.MaxPool2d, "norm": nn.LocalResponseNorm}


@pytest.mark.parametrize("make", [alexnet, dau_alexnet])
def test_the_order_of_the_layers(make):
    with torch.device("meta"):
        network = make()
    assert len(network.features) == len(PLAN)
    for layer, kind in zip(network.features, PLAN, strict=True):
        assert isinstance(layer, KINDS[kind])
    sizes, x = [], torch.randn(1, 3, 227, 227, device="meta")
    for layer in network.features:
        x = layer(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes[0] == (96, 55, 55)
    assert [size for size, kind in zip(sizes, PLAN, strict=True) if kind == "pool"] == [
        (96, 27, 27),
        (256, 13, 13),
        (256, 6, 6),
    ]
    assert [size[0] for size, kind in zip(sizes, PLAN, strict=True) if kind == "conv"] == [96, 256, 384, 384, 256]
    norm = network.features[3]
    assert (norm.size, norm.alpha, norm.beta) == (5, 1e-4, 0.75)
    assert [type(layer) for layer in network.classifier][3::3] == [nn.Dropout, nn.Dropout]
    assert network(torch.randn(2, 3, 227, 227, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize(("size", "units"), [("large", (6, 4)), ("medium", (4, 2)), ("small", (2, 1))])
def test_units(size, units):
    network = dau_alexnet(size, sigma=0.4, max_displacement=3, num_classes=7)
    layers = [layer for layer in network.features if isinstance(layer, DAUConv2d)]
    assert [layer.num_units for layer in layers] == [units[0], *[units[1]] * 3]
    assert {(layer.sigma, layer.max_displacement) for layer in layers} == {(0.4, 3)}
    for layer in layers:  # on a grid, the same for all pairs of channels
        assert torch.equal(layer.displacement, layer.displacement[:1, :1].expand_as(layer.displacement))
    image = torch.randn(1, 3, 80, 90)
    assert network(image).shape == (1, 7)


def test_an_unknown_size():
    with pytest.raises(ValueError, match="size must be one of 'large', 'medium', 'small', got size='tiny'"):
        dau_alexnet("tiny")


@pytest.mark.parametrize("num_units", [None, 1, 6])
def test_the_small_network(num_units):
    network = dau_cifar_alexnet(num_units) if num_units else cifar_alexnet()
    sizes, x = [], torch.randn(2, 3, 32, 32)
    for layer, kind in zip(network.features, PLAN, strict=True):
        assert isinstance(layer, KINDS[kind])
        x = layer(x)
        if kind == "conv":
            sizes.append(tuple(x.shape[1:]))
    assert sizes == [(48, 28, 28), (96, 13, 13), (128, 6, 6), (128, 6, 6), (96, 6, 6)]
    assert x.shape[2:] == (2, 2)  # so nothing is averaged
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    layers = [layer for layer in network.features if isinstance(layer, DAUConv2d)]
    assert [layer.num_units for layer in layers] == ([num_units] * 4 if num_units else [])
