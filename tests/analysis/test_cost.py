"""What layers cost, counted by hand."""

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d, prune_units_
from torchdau.analysis import layer_costs, measured_speed_up


def test_costs_by_hand():
    model = nn.Sequential(
        DAUConv2d(3, 8, num_units=2), nn.ReLU(), DAUConv2d(8, 4, num_units=4, stride=2, bias=False)
    ).train()
    first, second = layer_costs(model, torch.randn(2, 3, 10, 10))
    assert (first.name, first.units, first.parameters) == ("0", 48, 48 * 3 + 8)
    assert (first.twin_parameters, first.twin_multiply_adds) == (3 * 8 * 9 + 8, 3 * 8 * 9 * 200)
    assert first.multiply_adds == 4 * 48 * 200 + 600 * 25  # sigma 0.5: a Gaussian of 5 x 5
    assert first.input == (2, 3, 10, 10)
    assert (second.units, second.parameters, second.twin_parameters) == (128, 384, 8 * 4 * 9)
    assert second.multiply_adds == 4 * 128 * 50 + 1600 * 25
    assert model.training


def test_the_papers_speed_up():
    """Equation (17): 9 x 9 positions of units and 2 of the Gaussian at each side, K = 2."""
    (row,) = layer_costs(DAUConv2d(4, 4, num_units=2), torch.randn(1, 4, 9, 9))
    assert row.speed_up == 13 * 13 / (4 * 2)


def test_layers_of_pruned_networks_and_images_without_a_batch():
    layer = DAUConv2d(2, 2, num_units=2)
    nn.init.constant_(layer.weight, 1)
    with torch.no_grad():
        layer.weight[0] = 0
    (row,) = layer_costs(prune_units_(nn.Sequential(layer), 0.5), torch.randn(2, 6, 6))
    assert (row.units, row.parameters, row.multiply_adds) == (4, 14, 4 * 4 * 36 + 72 * 25)


def test_a_measured_speed_up_leaves_the_layer_as_it_was():
    layer = DAUConv2d(8, 8, num_units=2, algorithm="spectral")
    assert measured_speed_up(layer, torch.randn(1, 8, 32, 32), repeats=1) > 0
    assert layer.algorithm == "spectral"
    with pytest.raises(ValueError, match="input"):
        measured_speed_up(layer, torch.randn(1, 3, 32, 32), repeats=1)
    assert layer.algorithm == "spectral"
