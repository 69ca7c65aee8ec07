"""Which native kernel computes a layer, and how long it takes.

- ``narrow``: few input channels in a group. The Gaussian comes once per output channel, after the units.
- ``blurred``: one or a few images. Forward pass only.
- ``lanes``: small images, small batches and strides.
"""

from collections.abc import Sequence

FEW = 16
"""Most input channels of a group for the kernel for few of them."""

CACHED = 4 << 20
"""Pixels of blurred images that stay in a cache."""

STRIDES = ((1, 1), (2, 2))
"""Strides that the kernel in lanes has."""

REACH = 240
"""Most pixels around a tile for which windows of it are made."""

BACKWARD = 3.4
"""Time of a backward pass in forward passes of the same kernel."""

Size = tuple[int, int]


def forward_kernel(n: int, groups: int, i: int, o: int, k: int, size: Size, stride: Size, window: int) -> str:
    """The fastest kernel for a forward pass."""
    layer = n, groups, i, o, k, size, stride, window
    if i <= FEW:
        return "narrow"
    in_lanes = stride in STRIDES and window <= 2 * REACH
    return "lanes" if in_lanes and _lanes(*layer) < _blurred(*layer) else "blurred"


def backward_kernel(i: int, stride: Sequence[int], window: int) -> str | None:
    """The kernel for the gradients, or None where there is none."""
    if i <= FEW:
        return "narrow"
    return "lanes" if tuple(stride) in STRIDES and window <= 2 * REACH else None


def cost(
    n: int, groups: int, i: int, o: int, k: int, size: Size, stride: Size, window: int, training: bool = False
) -> float:
    """Return the multiply-adds of a forward pass, or of a training step; what runs slower counts by its time."""
    layer = n, groups, i, o, k, size, stride, window
    costs = {"narrow": _narrow, "blurred": _blurred, "lanes": _lanes}
    forward = costs[forward_kernel(*layer)](*layer)
    if not training:
        return forward
    return forward + BACKWARD * costs[backward_kernel(i, stride, window) or "lanes"](*layer)


def _narrow(n: int, groups: int, i: int, o: int, k: int, size: Size, stride: Size, window: int) -> float:
    rows, columns = (pixels * step + 4 for pixels, step in zip(size, stride, strict=True))
    return 2 * n * groups * rows * 16 * -(-columns // 16) * (4 * i + o * (3 * k * i + 12))


def _blurred(n: int, groups: int, i: int, o: int, k: int, size: Size, stride: Size, window: int) -> float:
    rows, columns = size[0] + 2 * (-(-size[0] // 14)), 16 * (-(-size[1] // 15))  # as they are computed
    plane = (size[0] * stride[0] + window) * (size[1] * stride[1] + window)
    each = 3.4 if max(stride) == 1 else 12
    blur = 60 if groups * i * n * plane < CACHED else 130
    return groups * i * n * (o * k * rows * columns * each + blur * plane) + 1e7


def _lanes(n: int, groups: int, i: int, o: int, k: int, size: Size, stride: Size, window: int) -> float:
    pixels = size[0] * 4 * -(-size[1] // 4)
    lanes = 64 * -(-n * pixels // 64)  # pixels of tiles of 4 or more, 16 at a time
    unit, around = (4.2, 1.1) if stride == (1, 1) else (6.5, 1.5)
    return groups * i * (o * k * (unit * lanes + 300) + around * (window + 4) ** 2 * lanes) + 1e7
