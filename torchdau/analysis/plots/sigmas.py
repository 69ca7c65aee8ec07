"""Widths of units."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import nn

from torchdau.analysis.displacements import distribution, units_of, widened
from torchdau.analysis.plots.layers import shown
from torchdau.analysis.style import COLOURS

BINS = 40


def plot_sigmas(model: nn.Module, start: nn.Module | None = None, layers: Sequence[str] | None = None) -> Figure:
    """Plot the widths of each layer's units, weighted by their absolute weights, and their change in training.

    Args:
        model: model with unit layers.
        start: model before training. If given, a second row shows the change.
        layers: names of the layers to show. Default: all.

    Returns:
        A figure with a column for each layer.

    Raises:
        ValueError: the model has no unit layer, or no layer of such a name; ``start`` has other units; or all units
            have the same, unchanged sigma.

    Reference:
        Figure 4 of the paper.
    """
    units = shown(model, layers)
    before = {each.name: each for each in units_of(start)} if start else {}
    now = torch.cat([layer.sigma.flatten() for layer in units])
    then = torch.cat([before[layer.name].sigma.flatten() for layer in units]) if start else now
    if now.unique().numel() == 1 and now.equal(then):
        raise ValueError(f"model must have learned sigmas, got all at {now[0]:g} pixels. Train with learn_sigma=True.")
    figure = Figure(figsize=(3 * len(units) + 0.6, 5 if start else 2.8), layout="constrained")
    grid = figure.subplots(2 if start else 1, len(units), squeeze=False, sharex="row", sharey="row")
    widest = max(layer.sigma.max().item() for layer in units)
    for axes, layer in zip(grid[0], units, strict=True):
        shares, edges = distribution(layer.sigma, layer.weight, BINS, (0.0, 1.05 * widest))
        axes.stairs((100 * shares).numpy(), edges.numpy(), fill=True, color=COLOURS[0])
        axes.set(title=layer.name, xlabel="sigma [px]")
    if start:
        changes = [widened(layer, before[layer.name]) for layer in units]
        most = max(max(change.abs().max().item() for change in changes), 1e-3)
        for axes, layer, change in zip(grid[1], units, changes, strict=True):
            shares, edges = distribution(change, layer.weight, BINS, (-1.05 * most, 1.05 * most))
            axes.stairs((100 * shares).numpy(), edges.numpy(), fill=True, color=COLOURS[1])
            axes.set(xlabel="change of sigma [px]")
    for row in grid:
        row[0].set_ylabel("share of the weight [%]")
    return figure
