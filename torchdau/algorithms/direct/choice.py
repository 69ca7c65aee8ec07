"""The native kernel that computes a layer, and how long it takes.

- ``narrow``: few input channels in a group. The Gaussian comes once per output channel, after the units.
- ``blurred``: one or a few images. Forward pass only.
- ``lanes``: small images, small batches and strides.
- ``separable``: few input channels in a group, and units with their own Gaussians: a sigma each, or the Gaussian form.
"""

import math
from typing import NamedTuple

from torchdau.kernels import LANES

FEW = 16
"""Most input channels of a group for ``narrow`` and ``separable``."""

CACHED = 4 << 20
"""Number of pixels of blurred images that stay in a cache."""

LANES_FORWARD = {(1, 1): (2.75, 460, 0.83, 80, 2.7e7), (2, 2): (4.9, 620, 1.9, 60, 4e7)}
"""Cost of ``lanes`` by stride: of a unit per pixel and per call, of a pixel of a window, of a pixel written, of a call.

Fitted to times of 140 layers on Emerald Rapids, and those of a stride of 1 to 75 on Zen 4 (both AVX-512); the costs of
a backward pass, too. Those of a pixel written, and of ``COPIED`` ones, were fitted to 40 layers of few channels on
Zen 4.
"""

LANES_BACKWARD = {(1, 1): (7, 1200, 1.9, 200, 2.5e7), (2, 2): (20, 1700, 6.6, 800, 5e7)}
"""The same for the gradients. The first of each five was fitted again to 68 layers on Zen 3 (AVX2)."""

COPIED = 500
"""Cost for ``lanes`` of a pixel that is copied from channels_last together with those of other groups."""

MANY = 96
"""Units of an input channel from which on ``lanes`` has small tiles; fitted to times of 77 layers on both machines."""

WINDOW = 160
"""Most pixels along an axis that ``lanes`` reads for an output."""

TAPS = 12
"""Approximate number of weights along an axis of a unit with its own Gaussian."""

BACKWARD = {"narrow": 1.8, "separable": 3.4}
"""Time of a backward pass in forward passes of the same kernel."""


Pair = tuple[int, int]


class Shape(NamedTuple):
    """Sizes that determine a layer's time: images, groups, channels, units, output pixels, stride and window."""

    n: int
    groups: int
    i: int
    o: int
    k: int
    size: Pair
    stride: Pair
    window: int
    shared: bool = True  # one Gaussian for all units
    channels_last: bool = False


def forward_kernel(shape: Shape) -> str | None:
    """Return the fastest kernel for a forward pass, or None if there is none."""
    costs = _costs(shape)
    return min(costs, key=costs.__getitem__, default=None)


def backward_kernel(shape: Shape) -> str | None:
    """Return the fastest kernel for the gradients, or None if there is none."""
    costs = _backward_costs(shape)
    return min(costs, key=costs.__getitem__, default=None)


def cost(
    n: int, groups: int, i: int, o: int, k: int, size: Pair, stride: Pair, window: int, shared: bool = True
) -> float:
    """Return the multiply-adds of a forward pass; slower operations count by their time."""
    return min(_costs(Shape(n, groups, i, o, k, size, stride, window, shared)).values(), default=math.inf)


def backward_cost(
    n: int, groups: int, i: int, o: int, k: int, size: Pair, stride: Pair, window: int, shared: bool = True
) -> float:
    """Return the same for a backward pass, which is infinite if no kernel has gradients."""
    return min(_backward_costs(Shape(n, groups, i, o, k, size, stride, window, shared)).values(), default=math.inf)


def _costs(shape: Shape) -> dict[str, float]:
    """Return the costs of a forward pass of the kernels that support the layer."""
    if not shape.shared:
        return {"separable": _separable(shape)} if shape.i <= FEW else {}
    costs = {"blurred": _blurred(shape)}
    if shape.i <= FEW:
        costs["narrow"] = _narrow(shape)
    if _in_lanes(shape):
        costs["lanes"] = _lanes(shape, shape.o, *LANES_FORWARD[shape.stride])
    return costs


def _backward_costs(shape: Shape) -> dict[str, float]:
    """Return the costs of a backward pass of the kernels that support the layer."""
    forward = _costs(shape)
    costs = {name: times * forward[name] for name, times in BACKWARD.items() if name in forward}
    if shape.shared and _in_lanes(shape):
        costs["lanes"] = _lanes(shape, shape.i, *LANES_BACKWARD[shape.stride])
    return costs


def _in_lanes(shape: Shape) -> bool:
    return shape.stride in LANES_FORWARD and shape.window <= WINDOW


def _narrow(s: Shape) -> float:
    rows, columns = (pixels * step + 4 for pixels, step in zip(s.size, s.stride, strict=True))
    return 2.8 * s.n * s.groups * rows * LANES * -(-columns // LANES) * (4 * s.i + s.o * (3 * s.k * s.i + 12))


def _separable(s: Shape) -> float:
    rows, columns = (pixels * step + TAPS for pixels, step in zip(s.size, s.stride, strict=True))
    return 2 * s.n * s.groups * s.o * s.i * s.k * rows * 16 * -(-columns // 16) * 2 * min(TAPS, s.window)


def _blurred(s: Shape) -> float:
    tall, each = (14, 4.4) if LANES == 16 else (8, 5.5)  # rows of its tiles, and time of a unit for a pixel
    rows, columns = s.size[0] + 2 * (-(-s.size[0] // tall)), LANES * (-(-s.size[1] // (LANES - 1)))
    plane = (s.size[0] * s.stride[0] + s.window) * (s.size[1] * s.stride[1] + s.window)
    each = each if max(s.stride) == 1 else 12
    blur = 78 if s.groups * s.i * s.n * plane < CACHED else 170
    written = 100 * s.o * math.prod(s.size)
    return s.groups * s.n * (s.i * (s.o * s.k * rows * columns * each + blur * plane) + written) + 1e7


def _lanes(s: Shape, channels: int, unit: float, packing: float, around: float, written: float, start: float) -> float:
    pixels = s.size[0] * 4 * -(-s.size[1] // 4)
    tiles = 4 * LANES  # pixels of tiles of 4 or more in the lanes of a vector
    lanes = tiles * -(-s.n * pixels // tiles)
    units = s.o * s.k * (unit * lanes + packing)
    around *= min(1, math.sqrt(s.o * s.k / MANY))  # few units read larger tiles, and fewer pixels around them
    images = s.i * (units + around * lanes * (s.window + 4) ** 2) + channels * written * lanes
    copied = s.n * math.prod(s.size) * math.prod(s.stride) if s.channels_last and s.groups > 1 and s.i < FEW else 0
    return s.groups * (images + COPIED * copied) + start
