"""Transforms of images to spectra and back, as matrix products with constant matrices."""

import torch
import torch.nn.functional as F
from torch import Tensor

from torchdau.algorithms.spectral import bases
from torchdau.algorithms.spectral.tiling import Tiles
from torchdau.workspace import workspace

NARROW = 12
"""Fewest columns of a matrix product that is not transposed: narrower ones would run at a fraction of the speed."""


class Side:
    """The tiles of one side of a layer, its input or its output, and their transform.

    Args:
        ys: tiles along y.
        xs: tiles along x.
        lengths: transform length along y and along x.
        like: tensor with the data type and device of the computation.
    """

    def __init__(self, ys: Tiles, xs: Tiles, lengths: tuple[int, int], like: Tensor) -> None:
        self.ys, self.xs, self.lengths, self.like = ys, xs, lengths, like
        kind = like.dtype, like.device
        self.first = _first(xs.positions, lengths[1], lengths[0], *kind)
        self.seconds = [_second(ys.positions, lengths[0], conjugate, *kind) for conjugate in (False, True)]

    def analyse(self, images: Tensor, part: slice, conjugate: bool, name: str) -> "Analysis":
        """Return the spectra of rows ``part`` of the tiles of images (N, G, C, H, W).

        Args:
            images: the images.
            part: numbers of the rows of tiles.
            conjugate: whether to return the conjugate spectra.
            name: name of the memory that the spectra may use; spectra in use at the same time need different names.
        """
        return Analysis(self, images, part, conjugate, name)

    def synthesise(self, images: Tensor, part: slice, conjugate: bool, add: bool) -> "Synthesis":
        """Return the synthesis that writes such tiles into images, or adds them to images if ``add``."""
        return Synthesis(self, images, part, conjugate, add)


@bases.constant
def _first(positions: range, length: int, other: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return bases.first(positions, length, other).flatten(0, 1).to(device, dtype)


@bases.constant
def _second(positions: range, length: int, conjugate: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    return bases.second(positions, length, conjugate).flatten(2).to(device, dtype)


class Analysis:
    """The spectra of some tiles; the step along x is made at once, the step along y for requested columns."""

    def __init__(self, side: Side, images: Tensor, part: slice, conjugate: bool, name: str) -> None:
        self._name, self._matrix = name, side.seconds[conjugate]
        self._channels = images.shape[1:3]
        tiles = _gather(images, side.ys.part(part), side.xs, side.like)
        h, b, w = tiles.shape
        half = workspace(f"{name} half", (len(side.first), h * b), tiles)
        self._half = torch.mm(side.first, tiles.view(h * b, w).t(), out=half).view(-1, 2 * h, b)

    def spectra(self, columns: slice) -> Tensor:
        """Return spectra (2, columns * rows, G, tiles, C) of some columns; valid until the next call."""
        half, matrix = self._half[columns], self._matrix
        spectra = workspace(f"{self._name} spectra", (2, len(half), matrix.shape[1], half.shape[2]), half)
        for part in range(2):
            torch.bmm(matrix[part].expand(len(half), -1, -1), half, out=spectra[part])
        groups, channels = self._channels
        return spectra.view(2, len(half) * matrix.shape[1], groups, -1, channels)


class Synthesis:
    """Transform of spectra back to images."""

    def __init__(self, side: Side, images: Tensor, part: slice, conjugate: bool, add: bool) -> None:
        self._side, self._images, self._part, self._add = side, images, part, add
        self._matrix = side.seconds[conjugate]
        n, groups, channels, *_ = images.shape
        b = n * groups * channels * (part.stop - part.start) * side.xs.count
        self._half = workspace("out half", (bases.columns(side.lengths[1]), 2 * side.ys.size, b), side.like)

    def put(self, columns: slice, spectra: Tensor) -> None:
        """Take spectra (2, columns * rows, G, tiles, C) of some columns."""
        half = self._half[columns]
        real, imag = spectra.view(2, len(half), self._matrix.shape[1], -1)
        matrix = [part.t().expand(len(half), -1, -1) for part in self._matrix]
        torch.bmm(matrix[0], real, out=half)
        half.baddbmm_(matrix[1], imag)

    def finish(self) -> None:
        """Write the images, once all columns are there."""
        side = self._side
        h, w, b = side.ys.size, side.xs.size, self._half.shape[2]
        half = self._half.view(-1, h * b)
        if w < NARROW:
            tiles = torch.mm(side.first.t(), half, out=workspace("tiles", (w, h * b), half)).t()
        else:
            tiles = torch.mm(half.t(), side.first, out=workspace("tiles", (h * b, w), half))
        _scatter(tiles.view(h, b, w), self._images, side.ys.part(self._part), side.xs, self._add)


def _gather(images: Tensor, ys: Tiles, xs: Tiles, like: Tensor) -> Tensor:
    """Return tiles (h, G * N * tiles * C, w) of images (N, G, C, H, W), zero outside, in the type of ``like``."""
    height, width = images.shape[-2:]
    margins = (-xs.start, xs.stop - width, -ys.start, ys.stop - height)
    if any(margins):
        images = F.pad(images, margins)
    tiles = images.unfold(3, ys.size, ys.step).unfold(4, xs.size, xs.step)
    tiles = tiles.permute(5, 1, 0, 3, 4, 2, 6)
    return workspace("tiles", tiles.shape, like).copy_(tiles).flatten(1, 5)


def _scatter(tiles: Tensor, images: Tensor, ys: Tiles, xs: Tiles, add: bool) -> None:
    """Add tiles to the images or write them, the adjoint of :func:`_gather`."""
    n, groups, c, height, width = images.shape
    grid = tiles.unflatten(1, (groups, n, ys.count, xs.count, c)).permute(2, 1, 5, 3, 4, 0, 6)
    for row in range(ys.count):
        top = ys.start + row * ys.step
        y = slice(max(top, 0), max(min(top + ys.size, height), top, 0))
        for column in range(xs.count):
            left = xs.start + column * xs.step
            x = slice(max(left, 0), max(min(left + xs.size, width), left, 0))
            tile = grid[:, :, :, row, column, y.start - top : y.stop - top, x.start - left : x.stop - left]
            if add:
                images[..., y, x] += tile
            else:
                images[..., y, x] = tile
