"""Positions of units: maps, and distances from the centre."""

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import nn

from torchdau.analysis.displacements import LayerUnits, displacement_distribution, distance_distribution, units_of
from torchdau.analysis.plots.layers import shown
from torchdau.analysis.style import COLOURS, LINES, SEQUENTIAL

PATH = "#d62728"

PATHS = 60
"""Number of strongest units of a layer whose path is drawn: more would hide the map."""


def plot_displacements(
    model: nn.Module,
    shares: Sequence[float] = (0,),
    layers: Sequence[str] | None = None,
    start: nn.Module | None = None,
) -> Figure:
    """Plot the positions of each layer's units, as a density weighted by their absolute weights.

    Args:
        model: model with unit layers.
        shares: one row of maps for each share: units whose absolute weight is at least this share of the largest.
            Default: all units.
        layers: names of the layers to show. Default: all.
        start: model before training. If given, red lines lead from there to the present positions of the strongest
            units.

    Returns:
        A figure with a column for each layer. Axes are in pixels, y down as in an image; the dashed square is the
        bound.

    Raises:
        ValueError: the model has no unit layer, or no layer of such a name.

    Reference:
        Figure 7 of the paper.
    """
    units = shown(model, layers)
    starts = {each.name: each for each in units_of(start)} if start else {}
    figure = Figure(figsize=(3.2 * len(units) + 0.8, 3.3 * len(shares) + 0.3), layout="constrained")
    grid = figure.subplots(len(shares), len(units), squeeze=False)
    for row, share in zip(grid, shares, strict=True):
        for axes, layer in zip(row, units, strict=True):
            strongest = layer.strongest(share)
            density, edges = displacement_distribution(strongest)
            extent = edges[0].item(), edges[-1].item(), edges[-1].item(), edges[0].item()
            image = axes.imshow((100 * density).numpy(), cmap=SEQUENTIAL, extent=extent, norm=PowerNorm(0.5, 0))
            b = layer.max_displacement
            axes.plot([-b, b, b, -b, -b], [-b, -b, b, b, -b], "w--", linewidth=0.8)
            if layer.name in starts and len(starts[layer.name].weight) == len(layer.weight):
                _draw_paths(axes, layer, starts[layer.name], share)
            kept = f" of at least {share:.0%}" if share else ""
            axes.set(title=f"{layer.name}\n{len(strongest.weight):,} units{kept}")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(5, integer=True))
            figure.colorbar(image, ax=axes, shrink=0.8, label="weight in a cell [%]" if layer is units[-1] else "")
    for axes in grid[:, 0]:
        axes.set_ylabel("y [px]")
    for axes in grid[-1]:
        axes.set_xlabel("x [px]")
    return figure


def _draw_paths(axes: Axes, layer: LayerUnits, start: LayerUnits, share: float) -> None:
    """Draw lines from the start of the strongest units to dots at their present positions."""
    strength = layer.weight.abs()
    strongest = strength.argsort(descending=True)[:PATHS]
    strongest = strongest[strength[strongest] >= share * strength.max()]
    now, before = (each.displacement[strongest].flip(1) for each in (layer, start))  # x, y
    axes.add_collection(LineCollection(list(torch.stack([before, now], 1).numpy()), colors=PATH, linewidths=0.7))
    axes.plot(*now.T.numpy(), "o", color=PATH, markersize=2)


def plot_distances(
    model: nn.Module, shares: Sequence[float] = (0, 0.75, 0.9), layers: Sequence[str] | None = None
) -> Figure:
    """Plot the distances of units from the centre of their filter, weighted by their absolute weights.

    Args:
        model: model with unit layers.
        shares: one curve for each share: units whose absolute weight is at least this share of the layer's largest.
            Default: the paper's.
        layers: names of the layers to show. Default: all.

    Returns:
        A figure with a panel for each layer; the dotted line is the bound along an axis.

    Raises:
        ValueError: the model has no unit layer, or no layer of such a name.

    Reference:
        Figure 6 of the paper.
    """
    units = shown(model, layers)
    figure = Figure(figsize=(3.2 * len(units) + 0.8, 3), layout="constrained")
    row = figure.subplots(1, len(units), squeeze=False, sharey=True)[0]
    for axes, layer in zip(row, units, strict=True):
        for index, share in enumerate(shares):
            strongest = layer.strongest(share)
            density, edges = distance_distribution(strongest)
            label = f"at least {share:.0%} ({len(strongest.weight):,})" if share else f"all ({len(layer.weight):,})"
            axes.stairs(
                (100 * density).numpy(),
                edges.numpy(),
                color=COLOURS[index],
                linestyle=LINES[index % len(LINES)],
                label=label,
            )
        axes.axvline(layer.max_displacement, color="grey", linestyle=":", linewidth=0.8)
        axes.set(title=layer.name, xlabel="distance [px]")
        axes.legend(title="weight, of the largest", fontsize=7, title_fontsize=7)
    row[0].set_ylabel("share of the weight [%]")
    return figure
