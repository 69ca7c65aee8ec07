"""Costs of unit layers for torch.utils.flop_counter: the paper's formula, for both fast algorithms.

The dense algorithm, which "auto" takes for tiny layers, counts as the convolution that it runs.
"""

import math
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import torch

from torchdau.profile import Profile

COUNTER = "torch.utils.flop_counter"

Shape = Sequence[int]


def multiply_adds(outputs: Shape, input: Shape, units: int, radius: int) -> int:
    """Count the multiply-adds of a layer: four pixels per unit and output, and the blurring of every input pixel.

    Args:
        outputs: shape of the output (N, O, H_out, W_out).
        input: shape of the input.
        units: number of all units in the layer.
        radius: half-width of the Gaussian, in pixels.

    Reference:
        Section 3.2 of the paper, "Computational cost": 4 S F K W H + S W H Kw Kh.
    """
    return 4 * units * outputs[0] * outputs[2] * outputs[3] + math.prod(input) * (2 * radius + 1) ** 2


def _forward(outputs: Shape, input: Shape, weight: Shape, radius: int) -> int:
    """Count two operations for each multiply-add."""
    return 2 * multiply_adds(outputs, input, math.prod(weight), radius)


def _spectral(input: Shape, weight: Shape, *arguments: Any, out_shape: Sequence[Shape]) -> int:
    return _forward(out_shape[0], input, weight, Profile(*arguments[-5:-1]).radius)


def _direct(input: Shape, weight: Shape, *arguments: Any, out_shape: Shape) -> int:
    return _forward(out_shape, input, weight, Profile(*arguments[6:10]).radius)  # between groups and spectral_backward


def _backward(grad: Shape, input: Shape, weight: Shape, profile: Sequence[Any], needed: Sequence[bool]) -> int:
    """Count one forward pass for each needed image of the chain rule: x, w, mu along y and x, sigma."""
    x, w, mu, s = needed[:4]
    return (x + w + 2 * mu + s) * _forward(grad, input, weight, Profile(*profile).radius)


def _spectral_backward(grad: Shape, input: Shape, weight: Shape, *arguments: Any, out_shape: Sequence[Shape]) -> int:
    *_, interpolation, gradient, bound, sigma, _spectra, needed = arguments
    return _backward(grad, input, weight, (interpolation, gradient, bound, sigma), needed)


def _direct_backward(grad: Shape, input: Shape, weight: Shape, *arguments: Any, out_shape: Sequence[Shape]) -> int:
    *_, interpolation, gradient, bound, sigma, needed = arguments
    return _backward(grad, input, weight, (interpolation, gradient, bound, sigma), needed)


def _register(counter: ModuleType) -> None:
    operators = torch.ops.torchdau
    formulas = {
        operators.spectral: _spectral,
        operators.direct: _direct,
        operators.spectral_backward: _spectral_backward,
        operators.direct_backward: _direct_backward,
    }
    for operator, formula in formulas.items():
        if operator not in counter.flop_registry:
            counter.register_flop_formula(operator)(formula)


class _WhenImported(MetaPathFinder):
    """An import hook that registers the formulas with the counter; importing the counter here would import Triton."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == COUNTER else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register() -> None:
    """Make :class:`torch.utils.flop_counter.FlopCounterMode` count unit layers, now or whenever it is imported."""
    if COUNTER in sys.modules:
        _register(sys.modules[COUNTER])
    if not any(isinstance(finder, _WhenImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenImported())
