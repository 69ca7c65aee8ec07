"""Units, parameters, file size and time of a network without its weak units; numbers only."""

import copy
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from torchdau.conv import DAUConv2d
from torchdau.saving import save_model
from torchdau.surgery import prune_units_


@dataclass(frozen=True)
class Pruned:
    """A network without its weak units.

    Attributes:
        threshold: fraction of the largest absolute weight in a layer, below which units were removed.
        units: number of remaining units.
        removed: share of removed units.
        parameters: number of all parameters.
        file_size: size of its safetensors file in bytes.
        model: the network.
    """

    threshold: float
    units: int
    removed: float
    parameters: int
    file_size: int
    model: nn.Module


def pruned_models(model: nn.Module, thresholds: Sequence[float]) -> list[Pruned]:
    """Return copies of a network, each without the units below a threshold.

    Args:
        model: network with unit layers; it is not changed.
        thresholds: thresholds of :func:`torchdau.prune_units_`.

    Raises:
        ValueError: there are no unit layers, or a threshold is invalid.

    Reference:
        Section 4.2 and Table 2 of the paper.

    Example:
        >>> from torchdau.analysis import pruned_models
        >>> model = nn.Sequential(torchdau.DAUConv2d(3, 8, num_units=2))
        >>> [step.units for step in pruned_models(model, [0])]
        [48]
    """
    before = _units(model)
    steps = []
    for threshold in thresholds:
        pruned = prune_units_(copy.deepcopy(model), threshold)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.safetensors"
            save_model(pruned, file)
            size = file.stat().st_size
        units = _units(pruned)
        parameters = sum(p.numel() for p in pruned.parameters())
        steps.append(Pruned(threshold, units, 1 - units / max(before, 1), parameters, size, pruned))
    return steps


def forward_times(models: Sequence[nn.Module], input: Tensor, repeats: int) -> list[float]:
    """Return the median seconds of a forward pass of each model; they run in turn, so disturbances affect all."""
    seconds: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for number in range(repeats + 1):
            for model, each in zip(models, seconds, strict=True):
                start = time.perf_counter()
                model(input)
                if number:  # the first round is a warm-up
                    each.append(time.perf_counter() - start)
    return [statistics.median(each) for each in seconds]


def _units(model: nn.Module) -> int:
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, DAUConv2d))
