"""Photographs to restore, read with what the result keeps: depth, greyness, transparency and colour profile."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchdau.training.data.deep_colours import read_deep_colours, write_deep_colours
from torchdau.training.data.pictures import GREY, opened, picture_of, pixels_of, rgb, save_picture

DEEPEST = 65535
"""Largest intensity of 16 bits."""


@dataclass(frozen=True)
class Photograph:
    """A photograph, upright.

    Attributes:
        picture: the photograph in RGB with 8 bits, transparency on white.
        pixels: its intensities in [0, 1], of shape (3, H, W).
        grey: whether it has no colours.
        deep: whether its intensities have 16 bits, which it keeps.
        lost: whether it had 16 bits of which 8 were read.
        opacity: opacity of each pixel, 8 bits, or None.
    """

    picture: Image.Image
    pixels: Tensor
    grey: bool
    deep: bool
    lost: bool
    opacity: Image.Image | None

    def save(self, pixels: Tensor, path: Path) -> None:
        """Write other intensities (3, H, W) in [0, 1] as a PNG file of the same kind as the photograph."""
        profile: bytes | None = self.picture.info.get("icc_profile")
        if self.deep and not self.grey:
            colours = _whole_numbers(pixels, DEEPEST).movedim(0, -1).numpy().astype(np.uint16)
            if self.opacity is not None:
                opacity = np.array(self.opacity).astype(np.uint16) * (DEEPEST // 255)
                colours = np.concatenate([colours, opacity[..., None]], 2)
            write_deep_colours(colours, path, profile)
        elif self.deep:
            grey = _whole_numbers(pixels.mean(0), DEEPEST).numpy().astype(np.uint16)
            save_picture(Image.fromarray(grey), path, profile)
        else:
            save_picture(self._shallow(pixels), path, profile)

    def save_comparison(self, pixels: Tensor, path: Path) -> None:
        """Write the photograph and other intensities side by side, in 8 bits."""
        width, height = self.picture.size
        both = Image.new("RGB", (2 * width, height))
        both.paste(self.picture, (0, 0))
        both.paste(rgb(self._shallow(pixels)), (width, 0))
        save_picture(both, path, self.picture.info.get("icc_profile"))

    def _shallow(self, pixels: Tensor) -> Image.Image:
        result = picture_of(_whole_numbers(pixels, 255).to(torch.uint8))
        if self.grey:
            result = result.convert("L")
        if self.opacity is not None:
            result.putalpha(self.opacity)
        return result


def read_photograph(file: str | os.PathLike[str]) -> Photograph:
    """Read a photograph.

    Raises:
        ValueError: the file is not a complete picture, or an animation; the message names it.
    """
    whole = opened(file)
    with Image.open(file) as header:
        sixteen = ";16" in str(header.tile)
    grey, picture = whole.mode in GREY, rgb(whole)
    opacity = whole.convert("RGBA").getchannel("A") if whole.has_transparency_data else None
    deep = np.array(whole) if whole.mode.startswith("I") else None
    if sixteen and whole.mode in ("RGB", "RGBA"):
        deep = read_deep_colours(file, whole)
    pixels = pixels_of(picture) / 255 if deep is None else _intensities(deep, opacity)
    return Photograph(picture, pixels, grey, deep is not None, sixteen and deep is None, opacity)


def _intensities(deep: np.ndarray, opacity: Image.Image | None) -> Tensor:
    """Return intensities (3, H, W) in [0, 1] of 16 bits, (H, W) or (H, W, 3), with transparency on white."""
    pixels = torch.from_numpy(np.atleast_3d(deep).astype(np.float32) / DEEPEST).movedim(-1, 0)
    if opacity is not None:
        pixels = 1 - torch.from_numpy(np.array(opacity)) / 255 * (1 - pixels)
    return pixels.expand(3, -1, -1)


def _whole_numbers(intensities: Tensor, most: int) -> Tensor:
    return intensities.clamp(0, 1).mul(most).round()
