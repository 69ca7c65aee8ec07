"""Photographs to restore, read with what the result keeps: depth, greyness, transparency and colour profile."""

import os
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchdau.training.data.pictures import GREY, opened, pixels_of, rgb

DEEPEST = 65535
"""Largest intensity of 16 bits."""


@dataclass(frozen=True)
class Photograph:
    """A photograph, upright.

    Attributes:
        picture: the photograph in RGB with 8 bits, transparency on white.
        pixels: its intensities in [0, 1], of shape (3, H, W).
        grey: whether it has no colours.
        deep: whether it has 16 bits, which it keeps; so far only grey ones do.
        lost: whether it had 16 bits of which 8 were read.
        opacity: opacity of each pixel, 8 bits, or None.
    """

    picture: Image.Image
    pixels: Tensor
    grey: bool
    deep: bool
    lost: bool
    opacity: Image.Image | None

    @property
    def profile(self) -> bytes | None:
        """Colour profile, or None."""
        return self.picture.info.get("icc_profile")

    def restored(self, pixels: Tensor) -> Image.Image:
        """Return the picture with other intensities (3, H, W) in [0, 1], of the same kind as the photograph."""
        if self.deep:
            intensities = pixels.mean(0).clamp(0, 1).mul(DEEPEST).round()
            return Image.fromarray(intensities.numpy().astype(np.uint16))
        result = Image.fromarray(pixels.clamp(0, 1).mul(255).round().to(torch.uint8).movedim(0, -1).numpy())
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
    deep = whole.mode.startswith("I")
    picture = rgb(whole)
    pixels = pixels_of(picture) / 255
    if deep:
        pixels = torch.from_numpy(np.array(whole).astype(np.float32) / DEEPEST).expand(3, -1, -1)
    opacity = whole.convert("RGBA").getchannel("A") if whole.has_transparency_data else None
    return Photograph(picture, pixels, whole.mode in GREY, deep, sixteen and not deep, opacity)
