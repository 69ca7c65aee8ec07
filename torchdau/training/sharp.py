"""Sharp images of any size by a deblurring network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchdau.models.srn_deblur import MULTIPLE
from torchdau.training.tiles import in_tiles


def deblurred(network: nn.Module, blurred: Tensor, tile: int | None = None, overlap: int = 128) -> Tensor:
    """Sharp images (N, 3, H, W), 8 bits, of blurred ones in [0, 1] of any size.

    Args:
        network: maps blurred images in [0, 1] to a list of sharp ones, of which the last is the result.
        blurred: of shape (N, 3, H, W).
        tile: side of tiles in pixels; none sees images at once.
        overlap: pixels that neighbouring tiles share.
    """

    def sharp(part: Tensor) -> Tensor:
        height, width = part.shape[-2:]
        padded = F.pad(part, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
        return to_8_bits(network(padded)[-1][..., :height, :width])

    return in_tiles(sharp, blurred, tile, overlap) if tile else sharp(blurred)


def to_8_bits(images: Tensor) -> Tensor:
    """Intensities in [0, 1] as whole numbers to 255."""
    return images.mul(255).round().clamp(0, 255).to(torch.uint8)
