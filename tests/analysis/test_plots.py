"""Pictures show the numbers that they are made of."""

import pytest
import torch
from torch import nn

from tests.analysis.test_displacements import placed
from torchdau import DAUConv2d
from torchdau.analysis import ReceptiveField, distance_distribution, units_of
from torchdau.analysis.plots import plot_displacements, plot_distances, plot_receptive_fields, plot_sigmas


def network():
    return nn.Sequential(
        DAUConv2d(2, 3, num_units=2), nn.ReLU(), DAUConv2d(3, 4, num_units=2, learn_sigma=True, max_displacement=6)
    )


def test_maps_show_where_the_weight_is():
    figure = plot_displacements(placed([1.0, -3.0], [[-1.0, 1.0], [0.0, -1.0]], bound=1.0), (0, 0.9))
    maps = [axes for axes in figure.axes if axes.images]
    shown = maps[0].images[0]
    left, right, bottom, top = shown.get_extent()
    assert (left, right, bottom, top) == (-1.5, 1.5, 1.5, -1.5)  # y down, as in an image
    cells = torch.from_numpy(shown.get_array().data)
    side = 3 / len(cells)
    (y, x) = (int((position + 1.5) // side) for position in (0.0, -1.0))
    assert cells[y, x] == 75
    assert cells.sum().item() == pytest.approx(100)
    assert [axes.get_title().split("\n")[1] for axes in maps] == ["2 units", "1 units of at least 90%"]


def test_paths_of_the_strongest_units():
    start = placed([1.0, -3.0], [[-1.0, 1.0], [0.0, -1.0]])
    model = placed([1.0, -3.0], [[-1.0, 2.0], [2.0, -1.0]])
    axes = [axes for axes in plot_displacements(model, (0, 0.9), start=start).axes if axes.images]
    paths = [axes.collections[0].get_segments() for axes in axes]
    assert [sorted(path.tolist() for path in row) for row in paths] == [
        [[[-1, 0], [-1, 2]], [[1, -1], [2, -1]]],  # x, y
        [[[-1, 0], [-1, 2]]],
    ]
    (dots,) = [line for line in axes[1].lines if line.get_marker() == "o"]
    assert dots.get_xydata().tolist() == [[-1, 2]]
    many = DAUConv2d(8, 8, num_units=4)
    assert len(plot_displacements(many, start=many).axes[0].collections[0].get_segments()) == 60
    pruned = placed([1.0], [[0.0, 0.0]])
    assert not plot_displacements(model, start=pruned).axes[0].collections


def test_distances_are_the_distribution():
    model = network()
    figure = plot_distances(model, shares=(0, 0.5))
    for axes, units in zip(figure.axes, units_of(model), strict=True):
        for patch, share in zip(axes.patches, (0, 0.5), strict=True):
            expected, edges = distance_distribution(units.strongest(share))
            torch.testing.assert_close(torch.tensor(patch.get_data().values / 100), expected)
            torch.testing.assert_close(torch.tensor(patch.get_data().edges), edges)


def test_layers_can_be_chosen():
    assert [axes.get_title() for axes in plot_distances(network(), layers=["2"]).axes] == ["2"]
    with pytest.raises(ValueError, match="layers must be names of unit layers of the model, '0', '2', got '1'"):
        plot_distances(network(), layers=["1"])
    with pytest.raises(ValueError, match="model must have at least one DAUConv2d layer, got model with none"):
        plot_sigmas(nn.Conv2d(1, 1, 1))


def test_sigmas_and_their_changes():
    before = placed([1.0, 3.0], [[0.0, 0.0], [1.0, 1.0]], sigma=[0.5, 0.5])
    after = placed([1.0, 3.0], [[0.0, 0.0], [1.0, 1.0]], sigma=[0.4, 0.8])
    top, bottom = plot_sigmas(after, before).axes
    values, edges, _ = top.patches[0].get_data()
    assert {round(v): round((edges[i] + edges[i + 1]) / 2, 1) for i, v in enumerate(values) if v} == {25: 0.4, 75: 0.8}
    values, edges, _ = bottom.patches[0].get_data()
    assert {round(v): round((edges[i] + edges[i + 1]) / 2, 1) for i, v in enumerate(values) if v} == {25: -0.1, 75: 0.3}
    assert len(plot_sigmas(after).axes) == 1
    with pytest.raises(
        ValueError, match=r"model must have learned sigmas, got all at 0.5 pixels. Train with learn_sigma"
    ):
        plot_sigmas(before, before)


def test_receptive_fields_of_two_networks():
    influence = torch.zeros(9, 9, dtype=torch.float64)
    influence[4, 4], influence[4, 5] = 0.6, 0.4
    fields = [ReceptiveField(name, influence) for name in ("a", "b")]
    figure = plot_receptive_fields({"units": fields, "plain": fields[:1]})
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == [f"{layer}\n99 % within 0.6 px" for layer in "aba"]
    assert [shown[0].get_ylabel(), shown[2].get_ylabel()] == ["units", "plain"]
    assert figure.axes[0].images[0].get_array()[4, 4] == pytest.approx(0.6)
