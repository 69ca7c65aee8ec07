"""The frequencies of real images, and the constant matrices that lead to them.

The spectrum of a real tile of Ty x Tx pixels is a half-plane. It has columns kx = 0..Tx//2 with all Ty rows ky, in the
order 0..Ty//2, -1, -2, ... Columns that are their own mirror image (kx = 0 and, for even Tx, kx = Tx/2) hold each
number twice, with its conjugate, and have half the weight. Scaled as in :func:`first`, real and imaginary parts are
coordinates whose transpose leads back: synthesis is the transpose of analysis.

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
    """Return the number of columns kx of tiles ``length`` pixels wide."""
    return length // 2 + 1


def rows(length: int) -> list[int]:
    """Return the rows ky of tiles ``length`` pixels high."""
    return [*range(length // 2 + 1), *range(-1, -((length + 1) // 2), -1)]


def constant(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Cache the tensors that a function makes; its last argument is their device.

    A separate thread makes them. The state of a caller's thread (inference mode, a default device, the memory of a CUDA
    graph) must not affect a tensor that others will use. A CUDA graph may read the tensors of an accelerator, so these
    are kept for good.
    """

    def elsewhere(*args: Any) -> Tensor:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(make, *args).result()

    recent, forever = lru_cache(maxsize=256)(elsewhere), lru_cache(maxsize=None)(elsewhere)
    return wraps(make)(lambda *args: recent(*args) if args[-1].type == "cpu" else forever(*args))


def turns(frequencies: list[int], positions: range, length: int) -> Tensor:
    """Return angles 2 pi k q / T (frequencies, positions) in float64."""
    k, q = torch.tensor(frequencies)[:, None], torch.tensor(list(positions))
    return (k * q % length).double() * (2 * math.pi / length)


def first(positions: range, length: int, other: int) -> Tensor:
    """Return the step along x (columns, 2, positions): scaled cosines and sines; ``other`` is the length along y."""
    angle = turns(list(range(columns(length))), positions, length)
    scale = torch.full((columns(length), 1), 2 / (length * other), dtype=torch.float64)
    scale[0] /= 2
    if length % 2 == 0:
        scale[-1] /= 2
    return torch.stack([angle.cos(), angle.sin()], 1) * scale.sqrt()[:, None]


def second(positions: range, length: int, conjugate: bool) -> Tensor:
    """Return the step along y (2, rows, 2, positions), to real and imaginary part from the cosines and sines of x."""
    angle = turns(rows(length), positions, length)
    sign = -1 if conjugate else 1
    real = torch.stack([angle.cos(), -angle.sin()], 1)
    return torch.stack([real, torch.stack([-sign * angle.sin(), -sign * angle.cos()], 1)])


@constant
def waves(count: int, positions: range, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return cosines and sines (2, frequencies, positions) of frequencies 0..count - 1, for the spectra of units."""
    angle = turns(list(range(count)), positions, length)
    return torch.stack([angle.cos(), angle.sin()]).to(device, dtype)
