"""What a report says of trained networks, part by part."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from torchdau import __version__
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
from torchdau.training.report.page import Section
from torchdau.training.restoring import named_checkpoints, restore_network, restore_start
from torchdau.training.restoring_tasks import first_images

THRESHOLDS = (0, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Of pruning, the paper's."""


COSTS = ("units", "parameters", "twin's", "multiply-adds", "twin's", "formula (17)", "measured")
PLACES = ("from centre", "moved", "at bound")


def sections(
    checkpoints: Sequence[Path], prune_curve: Path | None, size: int, max_channels: int
) -> list[Callable[[], Section]]:
    """Return what makes the parts of a report; each takes some time.

    Args:
        checkpoints: the file to report on, and one to show beside it.
        prune_curve: table that torchdau prune-curve wrote, or none.
        size: side in pixels of the noise that the network sees where its data set is not there.
        max_channels: channels of a layer over which its receptive field is averaged.
    """
    paths = named_checkpoints(checkpoints)
    networks = {name: restore_network(path) for name, path in paths.items()}
    images, seen = first_images(checkpoints[0], size)
    return [
        lambda: _summary(networks, paths),
        lambda: _layers(networks, paths, images),
        lambda: _displacements(networks),
        lambda: _receptive_fields(networks, images, seen, max_channels),
        lambda: _pruning(networks, prune_curve),
        lambda: _training(paths),
    ]


def _summary(networks: Mapping[str, nn.Module], paths: Mapping[str, Path]) -> Section:
    rows: list[Sequence[str]] = [("network", "class", "units", "parameters")]
    for name, network in networks.items():
        units = sum(len(layer.weight) for layer in units_of(network))
        parameters = sum(p.numel() for p in network.parameters())
        kind = type(network).__name__
        rows.append((name, kind, f"{units:,}", f"{parameters:,}"))
    notes = [f"{name} is {path}." for name, path in paths.items()]
    return Section("Summary", [*notes, f"Made by torchdau {__version__}."], [("", rows)])


def _layers(networks: Mapping[str, nn.Module], paths: Mapping[str, Path], images: Tensor) -> Section:
    section = Section(
        "Layers",
        [
            "Unit layers beside 3 x 3 convolutions with the same channels: their twins. Multiply-adds: of one image.",
            "Formula (17) is the paper's gain over a dense kernel that reaches as far; then comes this machine's.",
            "Distances from the centre and moves in training are means over all units.",
        ],
    )
    for name, network in networks.items():
        if not (units := {layer.name: layer for layer in units_of(network)}):
            section.notes.append(f"{name} has no unit layers.")
            continue
        start = _start(paths.get(name), units)
        section.notes.append(_learned(name, units, start))
        rows: list[Sequence[str]] = [("layer", *COSTS, *PLACES)]
        for cost in layer_costs(network, images[:1]):
            layer, module = units[cost.name], cast("DAUConv2d", network.get_submodule(cost.name))
            there = torch.stack([layer.distance, layer.at_bound.float()]).mean(1).tolist() if cost.units else [0.0, 0.0]
            went = f"{moved(layer, start[cost.name]).mean().item():.2f} px" if cost.name in start else ""
            speed_up = measured_speed_up(module, torch.randn(cost.input))
            rows.append(
                (
                    cost.name,
                    *(f"{cost.units:,}", f"{cost.parameters:,}", f"{cost.twin_parameters:,}"),
                    *(f"{cost.multiply_adds / 1e6:,.1f} M", f"{cost.twin_multiply_adds / 1e6:,.1f} M"),
                    *(f"{cost.speed_up:.1f}", f"{speed_up:.1f}", f"{there[0]:.2f} px", went, f"{there[1]:.1%}"),
                )
            )
        section.tables.append((name, rows))
        section.notes += _bounds(units.values())
    return section


def _start(checkpoint: Path | None, units: Mapping[str, LayerUnits]) -> dict[str, LayerUnits]:
    """The units as they were before the training, where that is known and none were removed."""
    network = restore_start(checkpoint) if checkpoint else None
    start = units_of(network) if network else []
    return {layer.name: layer for layer in start if len(layer.weight) == len(units[layer.name].weight)}


def _learned(name: str, units: Mapping[str, LayerUnits], start: Mapping[str, LayerUnits]) -> str:
    """What the displacements of a network did, in a sentence."""

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
    """What to do about units that cannot go farther."""
    rows = [(layer, layer.at_bound.float().mean().item()) for layer in layers if len(layer.weight)]
    return [
        f"{share:.1%} of the units of {layer.name} sit at their bound of {layer.max_displacement:g} px: a larger "
        "max_displacement would let them reach farther."
        for layer, share in rows
        if share > 0.01
    ]


def _displacements(networks: Mapping[str, nn.Module]) -> Section:
    section = Section("Displacements", ["Each unit counts with its absolute weight; dashed is the bound."])
    for name, network in networks.items():
        layers: list[LayerUnits] = [layer for layer in units_of(network) if len(layer.weight)]
        if layers:
            section.charts.append(
                specification(displacement_chart(layers).properties(title=name), f"Where the units of {name} stand")
            )
        else:
            section.notes.append(f"{name} has no units to show.")
    return section


def _receptive_fields(networks: Mapping[str, nn.Module], images: Tensor, seen: str, max_channels: int) -> Section:
    section = Section(
        "Effective receptive field",
        [f"Share of the influence on a pixel in the middle of a layer's output, of {seen}, {max_channels} channels."],
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
    logs = {name: read_scalars(path) for name, path in paths.items()}
    for name, scalars in logs.items():
        if not scalars:
            section.notes.append(f"No curves of {name}: there are no logs of TensorBoard beside {paths[name]}.")
    for metric in dict.fromkeys(metric for scalars in logs.values() for metric in scalars):
        curves = {
            name: [(step, value) for step, value in scalars.get(metric, []) if math.isfinite(value)]
            for name, scalars in logs.items()
        }
        section.charts.append(
            specification(line_chart(curves, "training step", metric), f"{metric} against training steps")
        )
    return section
