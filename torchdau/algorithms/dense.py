"""The filters drawn as one dense kernel, then a plain convolution: any device, twice differentiable, never fast."""

import torch
import torch.nn.functional as F
from torch import Tensor

from torchdau.profile import Profile

MOST_NUMBERS = 2**31 - 1
"""Largest number of values in one kernel; convolution libraries count them in 32 bits."""


def dau_conv2d(
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
    profile: Profile,
) -> Tensor:
    """Compute the operator of docs/operator.md; see :mod:`torchdau.algorithms` for the arguments."""
    windows, pads = [], []
    for size, step, before in zip(input.shape[2:], stride, padding, strict=True):
        low, high = _visible(size, step, before, profile)
        windows.append(slice(low - profile.first, high + 1 - profile.first))
        pads.append((before - low, before + high))
    (rows, columns), (o, i, _) = windows, weight.shape
    numbers = o * i * (rows.stop - rows.start) * (columns.stop - columns.start)
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"max_displacement must be lower for a dense kernel, got max_displacement={profile.max_displacement} for "
            f"weight of shape {tuple(weight.shape)} and input of shape {tuple(input.shape)}: {numbers} numbers, where "
            f"{MOST_NUMBERS} are possible. Take another algorithm; an export to ONNX has this one only."
        )
    kernel = draw(weight, displacement, sigma, profile, rows, columns).to(input.dtype).contiguous()
    # conv2d can neither pad the two sides differently nor crop.
    (top, bottom), (left, right) = pads
    y, x = (_both_sides(*pad, size) for pad, size in zip(pads, input.shape[2:], strict=True))
    if (top, bottom, left, right) != (y, y, x, x):
        input = F.pad(input, (left - x, right - x, top - y, bottom - y))
    return F.conv2d(input, kernel, bias, stride, (y, x), groups=groups)


def draw(
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    profile: Profile,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> Tensor:
    """Draw the filters as one dense kernel (O, I, Sy, Sx), for the given rows and columns of the profile's window."""
    y, x = (profile.value(mu, sigma) for mu in displacement.unbind(-1))
    return torch.einsum("oik,yoik,xoik->oiyx", weight.to(y.dtype), y[rows], x[columns])


def _visible(size: int, stride: int, padding: int, profile: Profile) -> tuple[int, int]:
    """Return the first and last window position along an axis at which an output could read a pixel."""
    if not _is_known(size):
        return profile.first, profile.last
    low = padding - (size + 2 * padding - 1) // stride * stride
    return min(max(low, profile.first), profile.last), max(min(size - 1 + padding, profile.last), profile.first)


def _is_known(size: int) -> bool:
    """Return whether a size is a number, and not a symbol for images of any size."""
    return not torch.compiler.is_dynamo_compiling() and isinstance(size, int)


def _both_sides(before: int, after: int, size: int) -> int:
    """Return the padding of both sides along an axis that conv2d can add.

    With oneDNN 3.13, gradients of kernels whose padding is as large as the image write beyond their memory.
    """
    both = max(min(before, after), 0)
    return 0 if _is_known(size) and both >= size - 1 else both


def cost(
    n: int, groups: int, i: int, o: int, k: int, size: tuple[int, int], stride: tuple[int, int], window: int
) -> float:
    """Return the multiply-adds of a forward pass; drawing the kernel counts by its time, few channels as more."""
    rows, columns = (min(window, 2 * pixels * step) for pixels, step in zip(size, stride, strict=True))
    return groups * rows * columns * (n * size[0] * size[1] * max(i, 12) * max(o, 8) + 250 * i * o)
