"""Transforms of images to spectra and back by the kernels of ``tiles.py``: constant matrices and launches."""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from torchdau.algorithms.spectral import bases
from torchdau.algorithms.spectral.tiling import Tiles
from torchdau.algorithms.spectral.triton import sizes
from torchdau.algorithms.spectral.triton.tiles import _analysis, _synthesis
from torchdau.gpu.blocks import block, launch, rounded

ROOM = 16
"""Columns, or rows of pixels, to multiples of which constant matrices are padded, for whole blocks."""


@bases.constant
def _first(
    positions: range, length: int, other: int, precision: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the step along x (2 * columns, positions), with room for whole blocks of both."""
    matrix = bases.first(positions, length, other).flatten(0, 1)
    room = 0, block(len(positions)) - len(positions), 0, -len(matrix) % (2 * ROOM)
    return rounded(F.pad(matrix, room).to(dtype), precision).to(device)


@bases.constant
def _second(
    positions: range, length: int, conjugate: bool, precision: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the step along y (rows and parts, 2, positions), with room for whole blocks of both."""
    matrix = bases.second(positions, length, conjugate).transpose(0, 1).flatten(0, 1)
    room = 0, -len(positions) % ROOM, 0, 0, 0, block(len(matrix)) - len(matrix)
    return rounded(F.pad(matrix, room).to(dtype), precision).to(device)


class Side:
    """One side of a layer, as :class:`torchdau.algorithms.spectral.transforms.Side`.

    Args:
        ys: tiles along y.
        xs: tiles along x.
        pixels: height and width of the images.
        lengths: transform length along y and along x.
        dtype: type of the spectra.
        device: the GPU.
        precision: precision of float32 products, "tf32" or "tf32x3".
    """

    def __init__(
        self,
        ys: Tiles,
        xs: Tiles,
        pixels: Sequence[int],
        lengths: tuple[int, int],
        dtype: torch.dtype,
        device: torch.device,
        precision: str,
    ) -> None:
        self.ys, self.xs, self.pixels, self.dtype = ys, xs, pixels, dtype
        kind = precision, dtype, device
        self.columns, self.rows = bases.columns(lengths[1]), 2 * lengths[0]
        self.first = _first(xs.positions, lengths[1], lengths[0], *kind)
        self.seconds = [_second(ys.positions, lengths[0], conjugate, *kind) for conjugate in (False, True)]
        rows, width = len(self.seconds[0]), self.first.shape[1]
        chosen = sizes.choose(rows, width, dtype.itemsize > 2, precision)
        same = {"PRECISION": precision, "WIDTH": width, "ROWS": rows}
        self.analysis, self.synthesis, self.addition = (blocks._asdict() | same for blocks in chosen)
        self._parts: dict[tuple[int, int], tuple[Tiles, list[int]]] = {}

    def analyse(self, images: Tensor, part: slice, conjugate: bool, name: str) -> "Analysis":
        """Return the spectra of rows ``part`` of the tiles of images (N, G, C, H, W)."""
        return Analysis(self, images, part, conjugate)

    def synthesise(self, images: Tensor, part: slice, conjugate: bool, add: bool) -> "Synthesis":
        """Return the synthesis that writes such tiles into images, or adds them to images if ``add``."""
        return Synthesis(self, images, part, conjugate, add)

    def part(self, rows: slice) -> tuple[Tiles, list[int]]:
        """Return some rows of tiles along y, and the kernels' arguments for them from ``columns`` to ``matrix``."""
        key = rows.start, rows.stop
        if key not in self._parts:
            axes = tiles, _ = self.ys.part(rows), self.xs
            numbers = [self.columns, self.rows, *(a.count for a in axes), *(a.start for a in axes)]
            numbers += [*(a.step for a in axes), *(a.size for a in axes), *self.pixels, self.seconds[0].shape[2]]
            self._parts[key] = tiles, numbers
        return self._parts[key]


def _strides(images: Tensor) -> tuple[int, ...]:
    """Return the strides (N, C, H, W) of images (N, G, C, H, W) whose groups are contiguous channels."""
    n, group, channel, *others = images.stride()
    groups, channels = images.shape[1:3]
    return n, group // channels if groups > 1 else channel, *others  # the stride of a single channel means nothing


class Kept:
    """Spectra (tiles, columns * rows, 2, G, C) that exist already."""

    def __init__(self, spectra: Tensor) -> None:
        self._spectra = spectra

    def spectra(self, columns: slice) -> Tensor:
        """Return the spectra of all ``columns``."""
        return self._spectra.permute(2, 1, 3, 0, 4)


class Analysis(Kept):
    """The spectra of some tiles, all columns at once, written into ``spectra`` if given."""

    def __init__(self, side: Side, images: Tensor, part: slice, conjugate: bool, spectra: Tensor | None = None) -> None:
        n, groups, c = images.shape[:3]
        options = side.analysis
        tiles, numbers = side.part(part)
        count = n * tiles.count * side.xs.count
        if spectra is None:
            shape = count, side.columns * side.rows // 2, 2, groups, c
            spectra = torch.empty(shape, dtype=side.dtype, device=images.device)
        programs = count * -(-groups * c // options["CHANNELS"]) * -(-side.columns // options["COLUMNS"])
        launch(
            _analysis, (programs, 1, 1), images, side.first, side.seconds[conjugate], spectra, groups * c, *numbers,
            *_strides(images), **options,
        )  # fmt: skip
        super().__init__(spectra)


class Synthesis:
    """Transform of spectra back to images; overlapping tiles are added in phases, so that no two meet."""

    def __init__(self, side: Side, images: Tensor, part: slice, conjugate: bool, add: bool) -> None:
        self._side, self._images, self._part, self._conjugate, self._add = side, images, part, conjugate, add

    def put(self, columns: slice, spectra: Tensor) -> None:
        """Take the spectra of all ``columns``, and write the images."""
        side, images = self._side, self._images
        n, groups, c = images.shape[:3]
        options = side.addition if self._add else side.synthesis
        tiles, numbers = side.part(self._part)
        programs = n * -(-groups * c // options["CHANNELS"]) * -(-tiles.size // options["PIXELS"])
        phases = tiles.phases, side.xs.phases
        for phase in itertools.product(*map(range, phases)):
            axes = zip((tiles.count, side.xs.count), phase, phases, strict=True)
            meant = math.prod(-(-(count - first) // every) for count, first, every in axes)
            launch(
                _synthesis, (programs * meant, 1, 1), images, side.first, side.seconds[self._conjugate], spectra,
                groups * c, *numbers, *phase, *phases, *_strides(images), ADD=self._add, **options,
            )  # fmt: skip

    def finish(self) -> None:
        """Do nothing: :meth:`put` has written the images."""
