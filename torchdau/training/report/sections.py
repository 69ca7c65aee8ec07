"""The sections of a report on trained networks."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from torchdau.analysis import (
    LayerUnits,
    layer_costs,
    measured_speed_up,
    moved,
    pruned_models,
    receptive_field,
    spatial_layers,
    units_of,
)
from torchdau.analysis.charts import displacement_chart, line_chart, receptive_field_chart, specification
from torchdau.conv import DAUConv2d
from torchdau.training.logs import read_scalars
from torchdau.training.report.headline import METRICS, amount, headline
from torchdau.training.report.page import Section
from torchdau.training.restoring import check_images, data_name, named_checkpoints, restore_network, restore_start
from torchdau.training.restoring_tasks import first_images

THRESHOLDS = (0, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Pruning thresholds, from the paper."""

HEADINGS = (
    *("layer", "units", "parameters", "of 3 x 3", "multiply-adds", "of 3 x 3"),
    *("gain, counted", "gain, measured", "distance", "moved", "at bound"),
)
"""Headings of the table of layers."""


def sections(
    checkpoints: Sequence[Path], prune_curve: Path | None, size: int, max_channels: int
) -> list[Callable[[], Section]]:
    """Return functions that make the sections of a report; each takes some time.

    Args:
        checkpoints: file to report on, and optionally one to compare with.
        prune_curve: table written by ``torchdau prune-curve``, or None.
        size: side in pixels of the noise that the network sees if its data set is not available.
        max_channels: largest number of a layer's channels over which its receptive field is averaged.
    """
    paths = named_checkpoints(checkpoints)
    networks = {name: restore_network(path) for name, path in paths.items()}
    images, seen = first_images(checkpoints[0], size)
    check_images(networks.values(), images)
    return [
        lambda: headline(networks, paths, images, data_name(checkpoints[0])),
        lambda: _displacements(networks, paths),
        lambda: _receptive_fields(networks, images, seen, max_channels),
        lambda: _training(paths),
        lambda: _layers(networks, paths, images),
        lambda: _pruning(networks, prune_curve),
    ]


def _layers(networks: Mapping[str, nn.Module], paths: Mapping[str, Path], images: Tensor) -> Section:
    section = Section(
        "Layers",
        [
            "Each unit layer beside a 3 x 3 convolution of the same channels, for one image. The gain is over a dense "
            "kernel that reaches as far: by counting multiply-adds, and in time on this machine. Distance "
            "from the centre and way moved in training are means over the units.",
        ],
    )
    for name, network in networks.items():
        if not (units := {layer.name: layer for layer in units_of(network)}):
            continue
        start = _start(paths.get(name), units)
        rows: list[Sequence[str]] = [HEADINGS]
        for cost in layer_costs(network, images[:1]):
            layer, module = units[cost.name], cast("DAUConv2d", network.get_submodule(cost.name))
            there = torch.stack([layer.distance, layer.at_bound.float()]).mean(1).tolist() if cost.units else [0.0, 0.0]
            went = f"{moved(layer, start[cost.name]).mean().item():.2f} px" if cost.name in start else ""
            speed_up = measured_speed_up(module, torch.randn(cost.input))
            rows.append(
                (
                    cost.name,
                    *(f"{cost.units:,}", f"{cost.parameters:,}", f"{cost.twin_parameters:,}"),
                    *(amount(cost.multiply_adds), amount(cost.twin_multiply_adds)),
                    *(f"{cost.speed_up:.1f} x", f"{speed_up:.1f} x", f"{there[0]:.2f} px", went, f"{there[1]:.1%}"),
                )
            )
        section.tables.append((name, rows))
    if not section.tables:
        section.notes = ["There are no unit layers."]
    return section


def _start(checkpoint: Path | None, units: Mapping[str, LayerUnits]) -> dict[str, LayerUnits]:
    """Return the units before the training, if they are known and none were removed."""
    network = restore_start(checkpoint) if checkpoint else None
    start = units_of(network) if network else []
    return {layer.name: layer for layer in start if len(layer.weight) == len(units[layer.name].weight)}


def _learned(name: str, units: Mapping[str, LayerUnits], start: Mapping[str, LayerUnits]) -> str:
    """Describe in a sentence how training changed the displacements of a network."""

    def mean(values: Iterable[Tensor]) -> float:
        return torch.cat([value.float() for value in values]).mean().item()

    reach, bound = (mean(getattr(layer, what) for layer in units.values()) for what in ("distance", "at_bound"))
    if set(start) != set(units):
        return f"The units of {name} reach {reach:.2f} pixels in the mean; {bound:.1%} are at their bound."
    before = mean(layer.distance for layer in start.values())
    went = mean(moved(layer, start[key]) for key, layer in units.items())
    grew = "grew" if reach > before else "shrank"
    return (
        f"The reach of the units of {name} {grew} from {before:.2f} to {reach:.2f} pixels in the mean; they moved by "
        f"{went:.2f} pixels, and {bound:.1%} are at their bound."
    )


def _bounds(layers: Iterable[LayerUnits]) -> list[str]:
    """Advise a larger bound for layers whose units cannot go farther."""
    rows = [(layer, layer.at_bound.float().mean().item()) for layer in layers if len(layer.weight)]
    return [
        f"{share:.1%} of the units of {layer.name} sit at their bound of {layer.max_displacement:g} px: a larger "
        "max_displacement would let them reach farther."
        for layer, share in rows
        if share > 0.01
    ]


def _displacements(networks: Mapping[str, nn.Module], paths: Mapping[str, Path]) -> Section:
    section = Section("Where units went")
    for name, network in networks.items():
        layers: list[LayerUnits] = [layer for layer in units_of(network) if len(layer.weight)]
        if not layers:
            continue
        units = {layer.name: layer for layer in layers}
        section.notes.append(_learned(name, units, _start(paths.get(name), units)))
        section.notes += _bounds(layers)
        section.charts.append(
            specification(displacement_chart(layers).properties(title=name), f"Where the units of {name} stand")
        )
    if not section.charts:
        section.notes.append("There are no units to show.")
    else:
        section.notes.append(
            "First, bright places have most of the filters' weight; the dashed square is as far as units may go. Then, "
            "how far from the centre the weight lies. A 3 x 3 kernel has all of it within 1.4 pixels."
        )
    return section


def _receptive_fields(networks: Mapping[str, nn.Module], images: Tensor, seen: str, max_channels: int) -> Section:
    section = Section(
        "What a layer sees",
        [
            "The effective receptive field: how much each pixel of the input influences a pixel in the middle of the "
            f"layer's output. The brightest area holds the first quarter of the influence. Of {seen}, over "
            f"{max_channels} channels."
        ],
    )
    own = {name: spatial_layers(network) for name, network in networks.items()}
    first = next(iter(own.values()))
    fields = {}
    rows: list[Sequence[str]] = [("network", "layer", "50 % within", "99 % within", "99 % in an area of")]
    for name, network in networks.items():
        common = [layer for layer in first if layer in dict(network.named_modules())]
        found = [receptive_field(network, layer, images, max_channels) for layer in common or own[name]]
        if found:
            fields[name] = found
        for each in found:
            radii = [f"{each.radius(share):.1f} px" for share in (0.5, 0.99)]
            rows.append((name, each.layer, *radii, f"{each.area(0.99):,} px"))
    together = len({tuple(each.layer for each in found) for found in fields.values()}) == 1
    for group in [fields] if together else [{name: found} for name, found in fields.items()]:
        section.charts.append(
            specification(receptive_field_chart(group), f"Effective receptive fields of {' and '.join(group)} by layer")
        )
    if fields:
        section.tables.append(("", rows))
    else:
        section.notes.append("There are no layers that see more than a pixel.")
    return section


def _pruning(networks: Mapping[str, nn.Module], table: Path | None) -> Section:
    section = Section("Pruning")
    if table:
        with table.open() as file:
            measured = list(csv.DictReader(file))
        if not measured or not {"checkpoint", "threshold", "units"} <= measured[0].keys():
            raise ValueError(f"prune_curve must be a table that torchdau prune-curve wrote, got {str(table)!r}.")
        metric = next(name for name in measured[0] if name not in ("checkpoint", "threshold", "loss"))
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in measured:
            lines.setdefault(row["checkpoint"], []).append((int(row["units"]), float(row[metric])))
        section.charts.append(
            specification(line_chart(lines, "units", metric), f"{metric} against the number of units that are left")
        )
        return section
    section.notes.append(
        "What thresholds remove. For what that costs, run torchdau prune-curve, and give its table as --prune_curve."
    )
    cells: list[Sequence[str]] = [("network", *(f"below {threshold:g}" for threshold in THRESHOLDS))]
    for name, network in networks.items():
        if any(len(layer.weight) for layer in units_of(network)):
            steps = pruned_models(network, THRESHOLDS)
            cells.append((name, *(f"{step.units:,} ({step.removed:.1%} gone)" for step in steps)))
        else:
            section.notes.append(f"{name} has no units to remove.")
    if len(cells) > 1:
        section.tables.append(("", cells))
    return section


def _training(paths: Mapping[str, Path]) -> Section:
    section = Section("Training")
    section.notes.append(
        "What the training measured, by its steps. Losses on training images that go on falling while those on other "
        "images (val) rise mean that the network learns its training images by heart."
    )
    logs = {name: read_scalars(path) for name, path in paths.items()}
    for name, scalars in logs.items():
        if not scalars:
            section.notes.append(f"No curves of {name}: there are no logs of TensorBoard beside {paths[name]}.")
    found = dict.fromkeys(metric for scalars in logs.values() for metric in scalars)
    for metric in sorted(found, key=lambda name: (name not in METRICS, name.startswith("train"))):
        curves = {
            name: [(step, value) for step, value in scalars.get(metric, []) if math.isfinite(value)]
            for name, scalars in logs.items()
        }
        section.charts.append(
            specification(line_chart(curves, "training step", metric), f"{metric} against training steps")
        )
    return section
