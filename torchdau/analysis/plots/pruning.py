"""Pruning curves."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from torchdau.analysis.style import COLOURS, MARKERS


def plot_prune_curves(curves: Mapping[str, Sequence[tuple[int, float, float]]], metric: str) -> Figure:
    """Plot a measure of networks against their number of units.

    Args:
        curves: for each network, by its name, the number of units, the measured value and the threshold of each step.
            Thresholds are written beside the points of the network with most units.
        metric: name of the measured value.

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
        beside = (0, (9, -16)[number % 2])  # alternate, because the first points lie close together
        axes.annotate(f"{threshold:g}", (x, y), textcoords="offset points", xytext=beside, ha="center", fontsize=8)
    axes.margins(0.1, 0.15)
    axes.set(xlabel="units (beside points the threshold)", ylabel=metric)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if len(curves) > 1:
        axes.legend()
    return figure
