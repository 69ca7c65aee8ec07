"""Images that continue beyond their borders, as far as units read, for padding modes other than zeros."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchdau.arguments import Sides, check_input, check_output_size, is_channels_last, sides


def layer_padding(padding: Any, stride: tuple[int, int]) -> tuple[int, int] | Sides:
    """Return the padding that a layer keeps: (y, x), or ((top, bottom), (left, right)) if sides differ.

    Raises:
        TypeError: the padding is not a number of pixels.
        ValueError: the padding is ``"same"`` in a layer with a stride, or ``"valid"``.
    """
    if isinstance(padding, str) and padding == "same":
        if stride != (1, 1):
            raise ValueError(
                f"padding must be numbers of pixels for a strided layer, got 'same' for stride={stride}. With "
                "padding=0, the output has size / stride pixels, rounded up."
            )
        return 0, 0
    if isinstance(padding, str) and padding == "valid":
        raise ValueError(
            "padding must be numbers of pixels or 'same', got 'valid'. Pass the pixels to crop: -1 in place of a 3 x 3 "
            "kernel."
        )
    y, x = sides("padding", padding)
    return (y[0], x[0]) if y[0] == y[1] and x[0] == x[1] else (y, x)


def extend(input: Tensor, padding_mode: str, padding: Any, reach: int) -> tuple[Tensor, Sides]:
    """Continue images beyond their borders, as far as units read.

    Args:
        input: images (N, C, H, W) or (C, H, W).
        padding_mode: ``"reflect"``, ``"replicate"`` or ``"circular"``.
        padding: padding of the layer, in pixels.
        reach: how far units read, in pixels.

    Returns:
        The images with their margins, and the remaining padding, at most 0, which keeps the outputs in their places.

    Raises:
        ValueError: the images are too small for the margins.
    """
    check_input(input)
    padding = sides("padding", padding)
    check_output_size(input, ((0, 0), (0, 0)))
    margins = [[max(p + reach, 0) for p in axis] for axis in padding]
    for axis, size, margin in zip("HW", input.shape[-2:], map(max, margins), strict=True):
        most = {"reflect": size - 1, "circular": size}.get(padding_mode, margin)
        if margin > most:
            raise ValueError(
                f"padding_mode={padding_mode!r} must find {margin} pixels to continue the image with (padding "
                f"plus the reach of the units), got {axis}={size}. Lower max_displacement, or use 'replicate'."
            )
    extended = F.pad(input, (*margins[1], *margins[0]), mode=padding_mode)
    if input.ndim == 4 and is_channels_last(input):
        extended = extended.contiguous(memory_format=torch.channels_last)
    y, x = ((p[0] - m[0], p[1] - m[1]) for p, m in zip(padding, margins, strict=True))
    return extended, (y, x)
