"""The network of Table 1: its layers, sizes, placements."""

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d
from torchdau.models import cifarnet, dau_cifarnet


@pytest.mark.parametrize(("make", "layer"), [(dau_cifarnet, DAUConv2d), (cifarnet, nn.Conv2d)])
def test_layers_are_those_of_the_paper(make, layer):
    network = make()
    block = [layer, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert [type(module) for module in network.features] == block * 3
    convolutions = network.features[::4]
    assert [(m.in_channels, m.out_channels, m.bias) for m in convolutions] == [
        (3, 96, None),
        (96, 96, None),
        (96, 192, None),
    ]
    assert [m.kernel_size for m in network.features[3::4]] == [2, 2, 2]
    assert (network.classifier.in_features, network.classifier.out_features) == (192 * 4 * 4, 10)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_parameters():
    """Three per unit, four units per pair of channels; the rest is the twin's."""
    pairs = 3 * 96 + 96 * 96 + 96 * 192
    rest = 2 * (96 + 96 + 192) + 3072 * 10 + 10

    def count(network):
        return sum(p.numel() for p in network.parameters())

    assert count(dau_cifarnet()) == 12 * pairs + rest
    assert count(dau_cifarnet(learn_sigma=True)) == 16 * pairs + rest
    assert count(cifarnet()) == 9 * pairs + rest


def test_units_start_on_a_grid_and_learned_sigmas_as_in_the_paper():
    torch.manual_seed(0)
    for layer in dau_cifarnet(learn_sigma=True).features[::4]:
        assert layer.displacement[5, 2].tolist() == [[-1.75, -1.75], [-1.75, 1.75], [1.75, -1.75], [1.75, 1.75]]
        assert 0.3 <= layer.sigma.min() < 0.32
        assert 0.78 < layer.sigma.max() <= 0.8
    assert dau_cifarnet(sigma=0.7).features[0].sigma == 0.7


@pytest.mark.parametrize("make", [dau_cifarnet, cifarnet])
def test_weights_start_glorot(make):
    torch.manual_seed(0)
    network = make()
    for module in (*network.features[::4], network.classifier):
        inputs, outputs = nn.init._calculate_fan_in_and_fan_out(module.weight)
        bound = (6 / (inputs + outputs)) ** 0.5
        assert 0.95 * bound < module.weight.abs().max() <= bound


def test_other_sizes():
    assert cifarnet(1, 5, 16, (4, 4, 8))(torch.randn(1, 1, 16, 16)).shape == (1, 5)
    with pytest.raises(ValueError, match="image_size must be a multiple of 8, got image_size=30"):
        cifarnet(image_size=30)
    with pytest.raises(ValueError, match=r"input must have images of 32 x 32 pixels .*, got .*\(1, 3, 48, 40\)"):
        cifarnet()(torch.randn(1, 3, 48, 40))
