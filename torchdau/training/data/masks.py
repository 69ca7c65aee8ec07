"""Masks: files with the number of a class in every pixel, and the colours in which they are shown."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchdau.training.data.pictures import UNREADABLE

IGNORED = 255
"""Pixels of this number belong to no class."""


def read_mask(file: str | os.PathLike[str]) -> Tensor:
    """Reads the numbers in a mask: of shape (H, W), 8 bits.

    Args:
        file: a picture with a palette, whose indices count, or of one channel, or a ``.mat`` file of SBD.

    Raises:
        ValueError: the file is no mask, or not whole; the message names it.
    """
    path = Path(file)
    try:
        if path.suffix == ".mat":
            from scipy.io import loadmat

            try:
                numbers = loadmat(path)["GTcls"][0]["Segmentation"][0]
            except Exception as error:  # scipy raises whatever it stumbles on
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
    """Refuses pictures in colour, from the head of the file."""
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
    """The colours of PASCAL VOC for so many classes: bits of the number, by channel, from the highest on."""
    return [
        tuple(sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3))  # type: ignore[misc]
        for number in range(count)
    ]
