"""Processing of large images in overlapping tiles, so that the size of a tile bounds memory."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor


def in_tiles(function: Callable[[Tensor], Tensor], images: Tensor, size: int, overlap: int) -> Tensor:
    """Apply a function to tiles of images, and join the middles of its results.

    Each output pixel comes from the tile in which it lies farthest from the border. Half of the overlap is therefore
    discarded context. Tiles are evenly spaced, and images are not padded.

    Args:
        function: maps images (N, C, h, w) to results (N, C', h, w).
        images: images of shape (N, C, H, W).
        size: side of the tiles in pixels.
        overlap: smallest number of pixels that neighbouring tiles share.

    Returns:
        Results of shape (N, C', H, W), on the CPU if there is more than one tile.

    Raises:
        ValueError: the overlap is negative, or not smaller than the tiles.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be at least 0 and below the size of tiles, {size}, got overlap={overlap}.")
    height, width = images.shape[-2:]
    if height <= size and width <= size:
        return function(images)
    results: Tensor | None = None
    for y, rows, top in _spans(height, size, overlap):
        for x, columns, left in _spans(width, size, overlap):
            result = function(images[..., y : y + size, x : x + size]).cpu()
            if results is None:
                results = torch.empty(*result.shape[:2], height, width, dtype=result.dtype)
            part = result[..., top : top + len(rows), left : left + len(columns)]
            results[..., rows.start : rows.stop, columns.start : columns.stop] = part
    assert results is not None
    return results


def _spans(length: int, size: int, overlap: int) -> Iterator[tuple[int, range, int]]:
    """Yield along one axis each tile's start, its output pixels and their start within the tile."""
    count = max(1, -(-(length - overlap) // (size - overlap)))
    starts = [round(index * (length - size) / (count - 1)) if count > 1 else 0 for index in range(count)]
    borders = [0, *((a + size + b) // 2 for a, b in pairwise(starts)), length]
    for index, start in enumerate(starts):
        yield start, range(borders[index], borders[index + 1]), borders[index] - start
