"""Large images in tiles that overlap, so that memory is bounded by the size of a tile."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor


def in_tiles(function: Callable[[Tensor], Tensor], images: Tensor, size: int, overlap: int) -> Tensor:
    """Applies a function of images to tiles, and joins what it makes of their middles.

    Each pixel of the output comes from the tile in which it lies farthest from the border, so half of the overlap is
    context that is thrown away. Tiles lie evenly; no side of an image is filled up.

    Args:
        function: maps images (N, C, h, w) to results (N, C', h, w).
        images: of shape (N, C, H, W).
        size: side of the tiles in pixels.
        overlap: pixels that neighbouring tiles share at least.

    Returns:
        Results of shape (N, C', H, W), on the CPU where there is more than one tile.

    Raises:
        ValueError: the overlap is not smaller than the tiles.
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
    """Along one axis: where tiles start, which pixels of the output are theirs, and where these lie in the tile."""
    count = max(1, -(-(length - overlap) // (size - overlap)))
    starts = [round(index * (length - size) / (count - 1)) if count > 1 else 0 for index in range(count)]
    borders = [0, *((a + size + b) // 2 for a, b in pairwise(starts)), length]
    for index, start in enumerate(starts):
        yield start, range(borders[index], borders[index + 1]), borders[index] - start
