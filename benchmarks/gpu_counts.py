"""Launches, moved memory and multiplications of the GPU kernels, layer by layer, counted without a GPU.

    uv run python benchmarks/gpu_counts.py

Runs the forward and the backward pass of each layer with kernels that only count their arguments, in bfloat16 and
channels_last. Prints a Markdown table. A launch moves its input and output tensors once. The lines of the prototype,
with which the design was measured on an H100 (docs/gpu.md), are formulas. The prototype has fewer frequencies, and
transforms images of up to 28 pixels in one product with a flattened basis.
"""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from torchdau.algorithms.layer import Layer
from torchdau.algorithms.spectral.task import Tensors
from torchdau.algorithms.spectral.triton import filters, products, transforms
from torchdau.algorithms.spectral.triton.task import Task
from torchdau.profile import Profile

BATCH, UNITS, BOUND, SIGMA = 256, 2, 4.0, 0.5
LAYERS = {
    "64 at 56": (64, 56, 1),
    "128 at 28": (128, 28, 1),
    "256 at 14": (256, 14, 1),
    "512 at 7": (512, 7, 1),
    "128 at 56, stride 2": (128, 56, 2),
}
KERNELS = {transforms: ("_analysis", "_synthesis"), products: ("_product",), filters: ("_spectra", "_gradients")}


class Launch(NamedTuple):
    """One launch: of a kernel of this project, or of an operation of PyTorch ("aten::...")."""

    name: str
    megabytes: float
    billions: float
    """Billions of multiply-adds of matrix products."""


class Launches(TorchDispatchMode):
    """Record of all launches; with ``run``, kernels also compute."""

    def __init__(self, run: bool) -> None:
        super().__init__()
        self.made: list[Launch] = []
        self._run, self._patches = run, ExitStack()

    @property
    def names(self) -> list[str]:
        """Names of the launches, in their order."""
        return [launch.name for launch in self.made]

    def __enter__(self) -> "Launches":
        for module, names in KERNELS.items():
            for name in names:
                self._patches.enter_context(patch.object(module, name, self._counted(name, getattr(module, name))))
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._patches.close()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **kwargs or {})
        new = any(str(each.type) == "Tensor" and each.alias_info is None for each in function._schema.returns)
        if new and "empty" not in function.name():
            self.made.append(Launch(function.name(), _megabytes((*args, result)), 0))
        return result

    def _counted(self, name: str, kernel: Any) -> Any:
        made, run = self.made, self._run

        class Counted:
            def __getitem__(self, grid: Any) -> Callable[..., None]:
                def call(*args: Any, **options: Any) -> None:
                    made.append(Launch(name, _megabytes(args), _multiply_adds(name, args) / 1e9))
                    if run:
                        kernel[grid](*args, **options)

                return call

        return Counted()


def _megabytes(arguments: tuple[Any, ...]) -> float:
    return sum(t.numel() * t.element_size() for t in arguments if isinstance(t, Tensor)) / 1e6


def _multiply_adds(name: str, args: tuple[Any, ...]) -> int:
    if name == "_product":
        a, b = args[:2]
        return int(4 * a[0].numel() * b.shape[-1])
    if name in ("_analysis", "_synthesis"):
        (columns, rows), (height, width) = args[5:7], args[13:15]
        tiles = args[3].numel() // (columns * rows)  # of one channel
        return int(tiles * columns * 2 * height * (width + rows))
    return 0


def passes(channels: int, side: int, stride: int) -> tuple[list[Launch], list[Launch]]:
    """Return the launches of a forward and of a backward pass of a layer with equal input and output channels."""
    x = torch.empty(BATCH, channels, side, side, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    shape = channels, channels, UNITS
    profile = Profile("bilinear", "smooth", BOUND, SIGMA)
    units = torch.zeros(shape), torch.zeros(*shape, 2), torch.tensor(SIGMA)
    layer = Layer.of(x, units[0], units[2], (stride, stride), (0, 0), 1, profile)
    task, tensors = Task(layer, tf32=True), Tensors(x, *units, None)
    kept = x.new_empty(task.kept)
    with Launches(run=False) as forward:
        output = task.forward(tensors, kept)
    with Launches(run=False) as backward:
        task.backward(tensors, output, [True, True, True, False, False], kept)
    return forward.made, backward.made


def prototype(channels: int, side: int, stride: int) -> tuple[Launch, Launch]:
    """Return the prototype's memory traffic and multiply-adds in a forward pass and a training step, by formulas."""
    length, outputs = side + int(BOUND + 2), -(-side // stride)  # 2: the radius of the Gaussian
    columns, mirrored = length // 2 + 1, 2 if length % 2 == 0 else 1  # mirrored columns have half of the rows
    frequencies = columns * length - mirrored * (length - columns)
    images, results = (BATCH * channels * pixels**2 for pixels in (side, outputs))
    spectra, filters_ = 2 * BATCH * channels * frequencies, 2 * frequencies * channels**2
    numbers = images + results + 4 * spectra + 2 * filters_
    if side > 28:  # the step along x goes through memory
        transform = [BATCH * channels * (2 * columns * p**2 + 4 * frequencies * p) for p in (side, outputs)]
        numbers += 4 * BATCH * channels * columns * (side + outputs)
    else:
        transform = [spectra * pixels**2 for pixels in (side, outputs)]
    product = 4 * BATCH * frequencies * channels**2
    sums = 2 * 4 * 3 * UNITS * channels**2 * columns  # bytes
    forward = Launch("prototype", 2 * numbers / 1e6, (sum(transform) + product) / 1e9)
    more = 2 * (numbers + 2 * spectra + 2 * filters_) + sums, sum(transform) + 2 * product
    return forward, Launch("prototype", forward.megabytes + more[0] / 1e6, forward.billions + more[1] / 1e9)


def main() -> None:
    counted = [passes(*layer) for layer in LAYERS.values()]
    formulas = [prototype(*layer) for layer in LAYERS.values()]
    print("| | " + " | ".join(LAYERS) + " |")
    print("|---" * (len(LAYERS) + 1) + "|")
    for number, name in enumerate(("forward", "training")):
        made = [forward + backward * number for forward, backward in counted]
        print(f"| {name}, launches | " + " | ".join(str(len(launches)) for launches in made) + " |")
        for unit, column in (("MB", "megabytes"), ("billion multiply-adds", "billions")):
            now = [sum(getattr(launch, column) for launch in launches) for launches in made]
            before = [getattr(pair[number], column) for pair in formulas]
            print(f"| {name}, {unit} | " + " | ".join(f"{value:.0f}" for value in now) + " |")
            print(f"| {name}, {unit}, prototype | " + " | ".join(f"{value:.0f}" for value in before) + " |")


if __name__ == "__main__":
    main()
