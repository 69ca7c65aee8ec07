"""Pictures of what :mod:`torchdau.analysis` counts; the only file that imports matplotlib."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import nn

from torchdau.analysis.displacements import units_of

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito, which the colour-blind can tell apart."""
MARKERS = ("o-", "s--", "^-.", "D:")


def plot_displacements(model: nn.Module) -> Figure:
    """Where the units of each layer stand, as a density weighted by the units' absolute weights.

    Args:
        model: a model with unit layers.

    Returns:
        A figure with one map per layer; axes in pixels, y down as in an image, the bound as a dashed square.

    Raises:
        ValueError: the model has no unit layer.

    Reference:
        Figure 7 of the paper.
    """
    layers = units_of(model)
    if not layers:
        raise ValueError("model must have at least one DAUConv2d layer, got model with none.")
    figure = Figure(figsize=(3.2 * len(layers) + 0.8, 3.6), layout="constrained")
    for axes, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        bound = layer.max_displacement
        edge = bound + 0.5
        y, x = layer.displacement.unbind(1)
        *_, image = axes.hist2d(
            x.numpy(), y.numpy(), bins=48, range=[[-edge, edge]] * 2, weights=layer.weight.abs().numpy(), cmap="cividis"
        )
        square = [-bound, bound, bound, -bound, -bound], [-bound, -bound, bound, bound, -bound]
        axes.plot(*square, "w--", linewidth=0.8)
        axes.invert_yaxis()
        axes.set(aspect="equal", title=f"{layer.name} ({len(layer.weight):,} units)", xlabel="x [px]")
        figure.colorbar(image, ax=axes, shrink=0.8, label="sum of absolute weights" if layer is layers[-1] else "")
    figure.axes[0].set_ylabel("y [px]")
    return figure


def plot_prune_curves(curves: Mapping[str, Sequence[tuple[int, float, float]]], metric: str) -> Figure:
    """How well networks do against the number of their units.

    Args:
        curves: for each network, by its name, the number of units, what was measured, and the threshold of each step.
            Thresholds are written beside the points of the one with most units.
        metric: the name of what was measured.

    Returns:
        A figure with a curve for each network.

    Reference:
        Figure 5 of the paper.
    """
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for index, (name, steps) in enumerate(curves.items()):
        units, values, _ = zip(*steps, strict=True)
        axes.plot(units, values, MARKERS[index % len(MARKERS)], color=COLOURS[index % len(COLOURS)], label=name)
    for number, (x, y, threshold) in enumerate(max(curves.values(), key=max)):
        beside = (0, (9, -16)[number % 2])  # above and below in turn: the first points lie close together
        axes.annotate(f"{threshold:g}", (x, y), textcoords="offset points", xytext=beside, ha="center", fontsize=8)
    axes.margins(0.1, 0.15)
    axes.set(xlabel="units (beside points the threshold)", ylabel=metric)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if len(curves) > 1:
        axes.legend()
    return figure
