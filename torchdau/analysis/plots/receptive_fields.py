"""Effective receptive fields."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from torchdau.analysis.receptive_field import SHARES, ReceptiveField
from torchdau.analysis.style import SEQUENTIAL


def plot_receptive_fields(fields: Mapping[str, Sequence[ReceptiveField]]) -> Figure:
    """Plot the areas of the input that hold given shares of the influence on an output pixel.

    Args:
        fields: for each network, by its name, the fields of its layers.

    Returns:
        A figure with a row for each network and a column for each of its layers; the innermost area holds 25 %.

    Reference:
        Figure 8 of the paper.
    """
    columns = max(map(len, fields.values()))
    figure = Figure(figsize=(2.7 * columns + 1, 2.5 * len(fields) + 0.2), layout="constrained")
    grid = figure.subplots(len(fields), columns, squeeze=False)
    levels = (0, *SHARES, 1)
    colours = mpl.colormaps[SEQUENTIAL].resampled(len(SHARES) + 1).reversed()
    image = None
    for row, (name, layers) in zip(grid, fields.items(), strict=True):
        for axes in row[len(layers) :]:
            axes.set_axis_off()
        for axes, field in zip(row, layers, strict=False):
            image = axes.imshow(field.held.numpy(), cmap=colours, norm=BoundaryNorm(levels, len(levels) - 1))
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{field.layer or 'all'}\n99 % within {field.radius(0.99):.1f} px", fontsize=8)
        row[0].set_ylabel(name)
    if image is not None:
        bar = figure.colorbar(image, ax=list(grid.flat), ticks=SHARES, shrink=0.8)
        bar.set_label("share of the influence inside")
        bar.set_ticklabels([f"{100 * share:g} %" for share in SHARES])
    return figure
