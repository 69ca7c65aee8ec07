"""Deblurring of images of any size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchdau.models.srn_deblur import MULTIPLE
from torchdau.training.tiles import in_tiles


def deblurred(network: nn.Module, blurred: Tensor, tile: int | None = None, overlap: int = 128) -> Tensor:
    """Return sharp images (N, 3, H, W) in [0, 1] of blurred ones of any size.

    Args:
        network: maps blurred images in [0, 1] to a list of sharp ones; the last is the result.
        blurred: images (N, 3, H, W) in [0, 1].
        tile: side of the tiles in pixels. Default: whole images.
        overlap: pixels that neighbouring tiles share.
    """

    def sharp(part: Tensor) -> Tensor:
        height, width = part.shape[-2:]
        padded = F.pad(part, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
        result: Tensor = network(padded)[-1][..., :height, :width]
        return result.clamp(0, 1)

    return in_tiles(sharp, blurred, tile, overlap) if tile else sharp(blurred)


def to_8_bits(images: Tensor) -> Tensor:
    """Convert intensities in [0, 1] to whole numbers from 0 to 255."""
    return images.mul(255).round().clamp(0, 255).to(torch.uint8)
