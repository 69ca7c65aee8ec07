"""Masks: files with a class number in every pixel, and the colours of the classes."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchdau.training.data.pictures import UNREADABLE

IGNORED = 255
"""Number of pixels that belong to no class."""


def read_mask(file: str | os.PathLike[str]) -> Tensor:
    """Read the numbers in a mask, shape (H, W), 8 bits.

    Args:
        file: picture with a palette, whose indices are the numbers, or with one channel, or a ``.mat`` file of SBD.

    Raises:
        ValueError: the file is not a mask, or not complete; the message names it.
    """
    path = Path(file)
    try:
        if path.suffix == ".mat":
            from scipy.io import loadmat

            try:
                numbers = loadmat(path)["GTcls"][0]["Segmentation"][0]
            except Exception as error:  # scipy raises errors of many types
                raise ValueError(f"file must be a mask of SBD, got {str(path)!r}: {error}.") from error
        else:
            check_mode(path)
            with Image.open(path) as opened:
                numbers = np.array(opened)
    except UNREADABLE as error:
        raise ValueError(f"file must be a mask, got {str(path)!r}: {error}.") from error
    if numbers.min(initial=0) < 0 or numbers.max(initial=0) > IGNORED:
        raise ValueError(f"file must be a mask of numbers to {IGNORED}, got {str(path)!r} with {numbers.max()}.")
    return torch.from_numpy(numbers.astype(np.uint8))


def check_mode(file: str | os.PathLike[str]) -> None:
    """Refuse pictures in colour and JPEG files, from the header of the file."""
    try:
        with Image.open(file) as opened:
            mode, kind = opened.mode, opened.format
    except UNREADABLE as error:
        raise ValueError(f"file must be a mask, got {str(file)!r}: {error}.") from error
    if kind == "JPEG":
        raise ValueError(f"file must be a mask, got {str(file)!r}, a JPEG, whose numbers are inexact. Save it as PNG.")
    if mode not in ("L", "P", "1") and not mode.startswith("I"):
        raise ValueError(
            f"file must be a mask whose pixels are numbers of classes, got {str(file)!r} in the mode {mode!r}. "
            "Save it with a palette, or with one channel."
        )


def colour_map(count: int) -> list[tuple[int, int, int]]:
    """Return PASCAL VOC colours for ``count`` classes: every third bit of a number, from a channel's top bit down."""
    return [
        tuple(sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3))  # type: ignore[misc]
        for number in range(count)
    ]
