"""Interactive charts of the numbers in :mod:`torchdau.analysis`, for pages; the only file that imports Altair."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import torch
from torch import Tensor

from torchdau.analysis.displacements import LayerUnits, displacement_distribution, distance_distribution
from torchdau.analysis.receptive_field import SHARES, ReceptiveField
from torchdau.analysis.style import COLOURS, SEQUENTIAL

CELLS = 40
"""Cells along each axis of a map: more would make pages of deep networks large."""


def displacement_chart(layers: Sequence[LayerUnits]) -> alt.HConcatChart:
    """Chart positions and distances from the centre of units, weighted by absolute weights; a menu selects the layer.

    Args:
        layers: units of each layer.

    Reference:
        Figures 6 and 7 of the paper.
    """
    chosen = _menu([layer.name for layer in layers])
    cells, steps, bounds = [], [], []
    for layer in layers:
        shares, edges = displacement_distribution(layer, CELLS)
        size = (edges[1] - edges[0]).item()
        for y, x in shares.nonzero().tolist():
            cell = {"x": edges[x].item(), "y": edges[y].item(), "share": 100 * shares[y, x].item()}
            cells.append({"layer": layer.name} | {key: _short(value) for key, value in cell.items()} | {"size": size})
        shares, edges = distance_distribution(layer, CELLS)
        for share, start, end in zip(100 * shares, edges[:-1], edges[1:], strict=True):
            steps.append({"layer": layer.name, "start": _short(start), "end": _short(end), "share": _short(share)})
        b = layer.max_displacement
        bounds.append({"layer": layer.name, "x": -b, "x2": b, "y": -b, "y2": b})
    edge = max(layer.max_displacement for layer in layers) + 0.5
    domain = alt.Scale(domain=[-edge, edge], nice=False)
    squares = (
        alt.Chart(alt.Data(values=cells))
        .transform_calculate(x2="datum.x + datum.size", y2="datum.y + datum.size")
        .mark_rect()
        .encode(
            alt.X("x:Q", scale=domain, title="x [px]"),
            alt.Y("y:Q", scale=alt.Scale(domain=[edge, -edge], nice=False), title="y [px]"),
            alt.X2("x2:Q"),
            alt.Y2("y2:Q"),
            alt.Color("share:Q", scale=alt.Scale(scheme=SEQUENTIAL, type="sqrt"), title="weight [%]"),
            tooltip=[alt.Tooltip("share:Q", title="weight [%]", format=".3f")],
        )
    )
    bound = (
        alt.Chart(alt.Data(values=bounds))
        .mark_rect(filled=False, stroke="grey", strokeDash=[4, 3])
        .encode(alt.X("x:Q"), alt.Y("y:Q"), alt.X2("x2:Q"), alt.Y2("y2:Q"))
    )
    histogram = (
        alt.Chart(alt.Data(values=steps))
        .mark_bar(color=COLOURS[0])
        .encode(
            alt.X("start:Q", title="distance from the centre [px]", bin="binned"),
            alt.X2("end:Q"),
            alt.Y("share:Q", title="share of the weight [%]"),
        )
    )
    of_layer = alt.datum.layer == chosen
    layered = [chart.transform_filter(of_layer) for chart in (squares, bound)]  # one filter on both would see no data
    maps = alt.layer(*layered).properties(width=300, height=300)
    return (maps | histogram.transform_filter(of_layer).properties(width=300, height=300)).add_params(chosen)


def receptive_field_chart(fields: Mapping[str, Sequence[ReceptiveField]]) -> alt.HConcatChart:
    """Chart the areas of the input that hold given shares of the influence; a menu selects the layer.

    Args:
        fields: for each network, by its name, the fields of its layers.

    Reference:
        Figure 8 of the paper.
    """
    names = list(dict.fromkeys(field.layer for layers in fields.values() for field in layers))
    chosen = _menu(names)
    labels = [f"{100 * share:g} %" for share in (*SHARES, 1)]
    colours = alt.Color(
        "share:O",
        scale=alt.Scale(domain=labels, scheme=SEQUENTIAL, reverse=True),
        title="share inside",
        sort=labels,
    )
    charts = []
    for name, layers in fields.items():
        rows = []
        for field in layers:
            levels, size = _levels(field)
            for y, x in (levels < len(SHARES)).nonzero().tolist():
                place = {"x": x * size, "x2": (x + 1) * size, "y": y * size, "y2": (y + 1) * size}
                rows.append({"layer": field.layer, **place, "share": labels[levels[y, x]]})
        height, width = layers[0].influence.shape
        charts.append(
            alt.Chart(alt.Data(values=rows), title=name)
            .mark_rect()
            .encode(
                alt.X("x:Q", scale=alt.Scale(domain=[0, width], nice=False), title="x [px]"),
                alt.Y("y:Q", scale=alt.Scale(domain=[height, 0], nice=False), title="y [px]"),
                alt.X2("x2:Q"),
                alt.Y2("y2:Q"),
                colours,
            )
            .transform_filter(alt.datum.layer == chosen)
            .properties(width=300, height=300)
        )
    return alt.hconcat(*charts).add_params(chosen)


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> alt.Chart:
    """Chart lines with points.

    Args:
        lines: for each network, by its name, pairs of values along x and y.
        x: title of the x axis.
        y: title of the y axis.
    """
    rows = [{"network": name, "x": a, "y": b} for name, points in lines.items() for a, b in points]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line(point=True)
        .encode(
            alt.X("x:Q", scale=alt.Scale(zero=False), title=x),
            alt.Y("y:Q", scale=alt.Scale(zero=False), title=y),
            alt.Color("network:N", scale=alt.Scale(range=list(COLOURS))),
            alt.StrokeDash("network:N"),
            tooltip=["network:N", alt.Tooltip("x:Q", title=x), alt.Tooltip("y:Q", title=y, format=".5g")],
        )
        .properties(width=300, height=200)
    )


def specification(chart: alt.Chart | alt.HConcatChart, words: str) -> dict[str, Any]:
    """Return the Vega-Lite specification of a chart, for a page of any colour.

    Args:
        chart: chart to convert.
        words: description for readers who do not see the chart.
    """
    plain = chart.properties(description=words).configure(background="transparent").configure_view(stroke=None)
    return plain.to_dict()


def _menu(names: Sequence[str]) -> alt.Parameter:
    """Return a menu of layers, which the keyboard can step through."""
    return alt.param(value=names[0], bind=alt.binding_select(options=list(names), name="layer "))


def _levels(field: ReceptiveField) -> tuple[Tensor, float]:
    """Return for each coarse cell the index of the smallest share whose area has it, and the side of a cell."""
    size = max(1, -(-max(field.influence.shape) // CELLS))
    height, width = field.influence.shape
    padded = torch.nn.functional.pad(field.influence, (0, -width % size, 0, -height % size))
    coarse = torch.nn.functional.avg_pool2d(padded[None, None], size)[0, 0] * size**2
    held = ReceptiveField(field.layer, coarse).held - coarse  # share held by stronger cells
    return torch.bucketize(held, torch.tensor(SHARES, dtype=held.dtype), right=True), float(size)


def _short(value: float | Tensor) -> float:
    return round(float(value), 4)
