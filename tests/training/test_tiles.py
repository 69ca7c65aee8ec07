"""Images in tiles: no seam, no pixel twice, nothing larger than a tile."""

import pytest
import torch
from torch import nn

from torchdau.training.tiles import in_tiles


@pytest.mark.parametrize("shape", [(40, 61), (16, 100), (17, 17), (33, 16), (100, 7), (48, 48)])
@pytest.mark.parametrize("overlap", [0, 6, 8, 15])
def test_a_local_function_sees_no_tiles(shape, overlap):
    """The middle of the overlap is as far from the border as a kernel of 2 pixels needs."""
    torch.manual_seed(0)
    radius = min(2, overlap // 2)
    conv = nn.Conv2d(3, 2, 2 * radius + 1, padding=radius)
    images = torch.randn(2, 3, *shape)
    sizes = []

    def function(part):
        sizes.append(part.shape[-2:])
        return conv(part)

    torch.testing.assert_close(in_tiles(function, images, 16, overlap), conv(images))
    assert max(max(size) for size in sizes) <= 16


def test_an_image_that_fits_is_seen_at_once():
    images = torch.randn(1, 3, 16, 9)
    assert in_tiles(lambda part: part, images, 16, 4) is images


def test_tiles_lie_evenly():
    starts = []
    in_tiles(lambda part: starts.append(int(part[0, 0, 0, 0])) or part, torch.arange(50.0).expand(1, 1, 16, 50), 16, 4)
    assert starts == [0, 11, 23, 34]


@pytest.mark.parametrize("overlap", [-1, 16])
def test_an_overlap_that_leaves_nothing(overlap):
    with pytest.raises(ValueError, match=f"overlap must be at least 0 and below .* 16, got overlap={overlap}"):
        in_tiles(lambda part: part, torch.zeros(1, 1, 20, 20), 16, overlap)
