"""The first part of a report: how good a network is, and how much it costs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from torchdau import __version__
from torchdau.analysis import forward_times, units_of
from torchdau.training.logs import read_scalars
from torchdau.training.report.page import Section
from torchdau.training.restoring import steps_of

METRICS = {"val_accuracy": "accuracy", "val_miou": "mean IoU", "val_psnr": "PSNR"}
"""Metrics by which tasks are judged, and their names in the report."""

REPEATS = 10
"""Repetitions of each time measurement."""


class Score(NamedTuple):
    """Score of a network at the last validation before its checkpoint was written."""

    name: str
    value: float

    def __str__(self) -> str:
        """Return the score as text, in dB or %."""
        return f"{self.value:.2f} dB" if self.name == "PSNR" else f"{self.value:.1%}"


def headline(networks: Mapping[str, nn.Module], paths: Mapping[str, Path], images: Tensor, data: str) -> Section:
    """Return the first part of a report.

    Args:
        networks: networks by name; the report is about the first.
        paths: their checkpoints.
        images: input images of the networks.
        data: name of the data set.
    """
    scores = {name: score(path) for name, path in paths.items()}
    metric = next((each.name for each in scores.values() if each), "score")
    section = Section("Summary")
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    section.notes += _compared(list(networks), scores, counts)
    times = forward_times(list(networks.values()), images[:1], REPEATS)
    rows: list[list[str]] = [["network", metric, "units", "parameters", "multiply-adds", "time of one image"]]
    for (name, network), seconds in zip(networks.items(), times, strict=True):
        units = sum(len(layer.weight) for layer in units_of(network))
        cells = str(scores[name] or "not known"), f"{units:,}" if units else "none", f"{counts[name]:,}"
        rows.append([name, *cells, amount(_multiply_adds(network, images[:1])), f"{1000 * seconds:.2f} ms"])
    section.tables.append(("", [tuple(row) for row in rows]))
    if metric != "score":
        section.small.append(
            f"{metric[0].upper()}{metric[1:]}: on the validation set of {data}, when the checkpoint was written."
        )
    section.small.append(
        f"Multiply-adds and time: of one image of {' x '.join(map(str, images.shape[2:]))} pixels, on the CPU of this "
        f"machine with {torch.get_num_threads()} threads. Made by torchdau {__version__}."
    )
    section.small += [f"{name}: {path}, {_day(path)}" for name, path in paths.items()]
    return section


def score(checkpoint: Path) -> Score | None:
    """Return the score of a checkpoint's network from the logs of its training, or None without logs."""
    scalars, last = read_scalars(checkpoint), steps_of(checkpoint)
    for metric, name in METRICS.items():
        values = [value for step, value in scalars.get(metric, []) if step <= last]
        if values:
            return Score(name, values[-1])
    return None


def amount(number: float) -> str:
    """Return a number of operations as text, in thousands, millions or billions."""
    for name, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:.0f}"


def _compared(names: list[str], scores: Mapping[str, Score | None], counts: Mapping[str, int]) -> list[str]:
    """Compare the first network with the second in a sentence."""
    if len(names) < 2:
        return []
    first, second = names
    ratio = counts[first] / counts[second] - 1
    sentence = f"{first} has {abs(ratio):.0%} {'fewer' if ratio < 0 else 'more'} parameters than {second}"
    mine, other = scores[first], scores[second]
    if mine and other and mine.name == other.name:
        points = mine.value - other.value if mine.name == "PSNR" else 100 * (mine.value - other.value)
        unit = "dB" if mine.name == "PSNR" else "points"
        sentence += f", and its {mine.name} is {abs(points):.1f} {unit} {'higher' if points > 0 else 'lower'}"
    return [f"{sentence}."]


@torch.inference_mode()
def _multiply_adds(network: nn.Module, images: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops() / 2


def _day(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d")
