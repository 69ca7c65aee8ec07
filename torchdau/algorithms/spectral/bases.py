"""The frequencies of real images, and the constant matrices that lead to them.

The spectrum of a real tile of Ty x Tx pixels is a half-plane: columns kx = 0..Tx//2 with all Ty rows ky, in the order
0..Ty//2, -1, -2, ... The columns that are their own mirror image (kx = 0 and, for even Tx, kx = Tx/2) hold each number
twice, with its conjugate, and have half the weight. With the scale of :func:`first` real and imaginary parts are then
coordinates of which the transpose is the way back: synthesis is the transpose of analysis.

Matrices are made once for each device and type, on the CPU in float64.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from typing import Any

import torch
from torch import Tensor


def columns(length: int) -> int:
    """Number of columns kx of tiles ``length`` pixels wide."""
    return length // 2 + 1


def rows(length: int) -> list[int]:
    """The rows ky of tiles ``length`` pixels high."""
    return [*range(length // 2 + 1), *range(-1, -((length + 1) // 2), -1)]


def constant(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keep the tensors that a function makes, whose last argument is their device.

    A thread of its own makes them: what a caller's thread has set (inference mode, a default device, the memory of a
    CUDA graph) must not stick to a tensor that others will use. A CUDA graph may read them, so those of an accelerator
    are kept for good.
    """

    def elsewhere(*args: Any) -> Tensor:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(make, *args).result()

    recent, forever = lru_cache(maxsize=256)(elsewhere), lru_cache(maxsize=None)(elsewhere)
    return wraps(make)(lambda *args: recent(*args) if args[-1].type == "cpu" else forever(*args))


def turns(frequencies: list[int], positions: range, length: int) -> Tensor:
    """Angles 2 pi k q / T (frequencies, positions) in float64."""
    k, q = torch.tensor(frequencies)[:, None], torch.tensor(list(positions))
    return (k * q % length).double() * (2 * math.pi / length)


def first(positions: range, length: int, other: int) -> Tensor:
    """The step along x (columns, 2, positions): scaled cosines and sines; ``other`` is the length along y."""
    angle = turns(list(range(columns(length))), positions, length)
    scale = torch.full((columns(length), 1), 2 / (length * other), dtype=torch.float64)
    scale[0] /= 2
    if length % 2 == 0:
        scale[-1] /= 2
    return torch.stack([angle.cos(), angle.sin()], 1) * scale.sqrt()[:, None]


def second(positions: range, length: int, conjugate: bool) -> Tensor:
    """The step along y (2, rows, 2, positions), to real and imaginary part from the cosines and sines of x."""
    angle = turns(rows(length), positions, length)
    sign = -1 if conjugate else 1
    real = torch.stack([angle.cos(), -angle.sin()], 1)
    return torch.stack([real, torch.stack([-sign * angle.sin(), -sign * angle.cos()], 1)])


@constant
def waves(count: int, positions: range, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cosines and sines (2, frequencies, positions) of the frequencies 0..count - 1, as the spectra of units have."""
    angle = turns(list(range(count)), positions, length)
    return torch.stack([angle.cos(), angle.sin()]).to(device, dtype)
