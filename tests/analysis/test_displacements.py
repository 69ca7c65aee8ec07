"""Where units stand, on layers whose units were placed by hand."""

import math

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d, prune_units_
from torchdau.analysis import (
    displacement_distribution,
    distance_distribution,
    moved,
    units_of,
    widened,
)


def placed(weight, displacement, sigma=None, bound=4.0):
    layer = DAUConv2d(1, 1, num_units=len(weight), max_displacement=bound, learn_sigma=sigma is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight)[None, None])
        layer.displacement.copy_(torch.tensor(displacement)[None, None])
        if sigma:
            layer.sigma.copy_(torch.tensor(sigma)[None, None])
    return nn.Sequential(layer)


def test_units_placed_by_hand():
    (units,) = units_of(placed([1.0, -3.0], [[3.0, 4.0], [0.0, -1.5]], sigma=[0.25, 0.75]))
    assert (units.name, units.weight.tolist(), units.sigma.tolist()) == ("0", [1, -3], [0.25, 0.75])
    assert units.displacement.tolist() == [[3, 4], [0, -1.5]]
    assert units.distance.tolist() == [5, 1.5]
    assert units.at_bound.tolist() == [True, False]
    (fixed,) = units_of(placed([1.0, -3.0], [[3.0, 4.0], [0.0, -1.5]]))
    assert fixed.sigma.tolist() == [0.5, 0.5]


def test_numbers_are_copies():
    model = placed([1.0], [[1.0, 2.0]])
    (units,) = units_of(model)
    nn.init.constant_(model[0].displacement, 3)
    nn.init.constant_(model[0].weight, 3)
    assert units.displacement.tolist() == [[1, 2]]
    assert units.weight.tolist() == [1]


def test_the_strongest_units():
    (units,) = units_of(placed([1.0, -4.0, 3.0, 0.0], [[0.0, k] for k in range(4)]))
    assert units.strongest(0).weight.tolist() == [1, -4, 3, 0]
    assert units.strongest(0.75).weight.tolist() == [-4, 3]
    assert units.strongest(0.75).displacement.tolist() == [[0, 1], [0, 2]]
    assert units.strongest(1).weight.tolist() == [-4]
    with pytest.raises(ValueError, match=r"share must be at least 0 and at most 1, got share=1.5"):
        units.strongest(1.5)


def test_distances_count_with_their_weight():
    (units,) = units_of(placed([1.0, -2.0, 5.0], [[0.5, 0.0], [0.0, -2.5], [0.3, 0.4]]))
    shares, edges = distance_distribution(units, bins=8)
    assert edges[-1].item() == pytest.approx(4 * math.sqrt(2))
    assert shares.tolist() == pytest.approx([6 / 8, 0, 0, 2 / 8, 0, 0, 0, 0])


def test_positions_count_with_their_weight():
    (units,) = units_of(placed([1.0, -3.0], [[-1.0, 1.0], [0.0, -1.0]], bound=1.0))
    shares, edges = displacement_distribution(units, bins=3)
    assert edges.tolist() == pytest.approx([-1.5, -0.5, 0.5, 1.5])
    assert shares.tolist() == [[0, 0, 0.25], [0.75, 0, 0], [0, 0, 0]]  # rows are y, downwards


def test_what_changed():
    (before,) = units_of(placed([1.0, 2.0], [[0.0, 0.0], [1.0, 1.0]], sigma=[0.5, 0.5]))
    (after,) = units_of(placed([1.0, 2.0], [[3.0, 4.0], [1.0, 1.0]], sigma=[0.25, 0.75]))
    assert moved(after, before).tolist() == [5, 0]
    assert widened(after, before).tolist() == [-0.25, 0.25]
    (less,) = units_of(prune_units_(placed([1.0, 2.0], [[0.0, 0.0], [1.0, 1.0]]), 0.9))
    with pytest.raises(ValueError, match="before must have the units of the same layer, got 1 units of '0' for 2"):
        moved(after, less)


def test_units_of_a_pruned_network():
    first, second = units_of(
        prune_units_(nn.Sequential(placed([1.0, -3.0], [[3.0, 4.0], [0.0, -1.5]]), DAUConv2d(1, 2, num_units=3)), 0.9)
    )
    assert (first.name, first.weight.tolist(), first.displacement.tolist()) == ("0.0", [-3], [[0, -1.5]])
    assert second.max_displacement == 4


def test_a_layer_without_units_left():
    (units,) = units_of(placed([0.0], [[1.0, 1.0]]))
    assert distance_distribution(units)[0].sum() == 0
    assert displacement_distribution(units)[0].sum() == 0
