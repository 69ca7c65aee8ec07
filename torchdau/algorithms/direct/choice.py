"""Which native kernel computes a layer, and how long it takes.

- ``narrow``: few input channels in a group. The Gaussian comes once per output channel, after the units.
- ``blurred``: one or a few images. Forward pass only.
- ``lanes``: small images, small batches and strides.
"""

from functools import lru_cache
from typing import NamedTuple

FEW = 16
"""Most input channels of a group for the kernel for few of them."""

CACHED = 4 << 20
"""Pixels of blurred images that stay in a cache."""

STRIDES = ((1, 1), (2, 2))
"""Strides that the kernel in lanes has."""

WINDOW = 160
"""Most pixels along an axis that the kernel in lanes reads for an output."""

BACKWARD = 3.4
"""Time of a backward pass in forward passes of the same kernel."""


Pair = tuple[int, int]


class Shape(NamedTuple):
    """What a layer's time depends on: images, groups, channels of a group, units, output pixels, stride and window."""

    n: int
    groups: int
    i: int
    o: int
    k: int
    size: Pair
    stride: Pair
    window: int


@lru_cache
def forward_kernel(shape: Shape) -> str:
    """The fastest kernel for a forward pass."""
    costs = _costs(shape)
    return min(costs, key=costs.__getitem__)


@lru_cache
def backward_kernel(shape: Shape) -> str | None:
    """The fastest kernel for the gradients, or None where there is none."""
    costs = _costs(shape)
    del costs["blurred"]
    return min(costs, key=costs.__getitem__, default=None)


def cost(
    n: int,
    groups: int,
    i: int,
    o: int,
    k: int,
    size: Pair,
    stride: Pair,
    window: int,
    training: bool = False,
) -> float:
    """Return the multiply-adds of a forward pass, or of a training step; what runs slower counts by its time."""
    shape = Shape(n, groups, i, o, k, size, stride, window)
    costs = _costs(shape)
    forward = min(costs.values())
    if not training:
        return forward
    del costs["blurred"]
    return forward + BACKWARD * min(costs.values(), default=_lanes(*shape))


def _costs(shape: Shape) -> dict[str, float]:
    """By the kernels that serve."""
    costs = {"blurred": _blurred(*shape)}
    if shape.i <= FEW:
        costs["narrow"] = _narrow(*shape)
    if shape.stride in STRIDES and shape.window <= WINDOW:
        costs["lanes"] = _lanes(*shape)
    return costs


def _narrow(n: int, groups: int, i: int, o: int, k: int, size: Pair, stride: Pair, window: int) -> float:
    rows, columns = (pixels * step + 4 for pixels, step in zip(size, stride, strict=True))
    return 2 * n * groups * rows * 16 * -(-columns // 16) * (4 * i + o * (3 * k * i + 12))


def _blurred(n: int, groups: int, i: int, o: int, k: int, size: Pair, stride: Pair, window: int) -> float:
    rows, columns = size[0] + 2 * (-(-size[0] // 14)), 16 * (-(-size[1] // 15))  # as they are computed
    plane = (size[0] * stride[0] + window) * (size[1] * stride[1] + window)
    each = 3.4 if max(stride) == 1 else 12
    blur = 60 if groups * i * n * plane < CACHED else 130
    return groups * i * n * (o * k * rows * columns * each + blur * plane) + 1e7


def _lanes(n: int, groups: int, i: int, o: int, k: int, size: Pair, stride: Pair, window: int) -> float:
    pixels = size[0] * 4 * -(-size[1] // 4)
    lanes = 64 * -(-n * pixels // 64)  # pixels of tiles of 4 or more, 16 at a time
    unit, around = (4.2, 1.1) if stride == (1, 1) else (6.5, 1.5)
    units = i * o * k * (unit * lanes + 300)
    return groups * (units + lanes * (i * around * (window + 4) ** 2 + 60 * o)) + 1e7
