"""Images to spectra and back: each tile in one kernel, a product with a constant matrix along x and one along y."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from torchdau.algorithms.spectral import bases
from torchdau.algorithms.spectral.tiling import Tiles
from torchdau.algorithms.spectral.triton.blocks import block, launch, operand, rounded

GEOMETRY = [
    *("columns", "rows", "count_y", "count_x", "start_y", "start_x", "step_y", "step_x"),
    *("size_y", "size_x", "pixels_y", "pixels_x", "phase_y", "phase_x", "phases_y", "phases_x", "matrix"),
]
"""Arguments that do not change the code that is made."""


class Blocks(NamedTuple):
    """How much of a tile a program takes at a time: columns of the spectrum, channels, rows of pixels."""

    COLUMNS: int
    CHANNELS: int
    PIXELS: int
    num_warps: int
    num_stages: int


ANALYSIS = {
    (32, 16): Blocks(8, 32, 8, 8, 3),
    (64, 16): Blocks(8, 16, 16, 4, 2),
    (128, 32): Blocks(8, 32, 16, 8, 3),
    (128, 64): Blocks(16, 16, 8, 8, 3),
}
"""By numbers of a column of the spectrum and pixels along x: fastest on an H100 in bfloat16."""

SYNTHESIS = {
    (32, 16): Blocks(8, 32, 8, 8, 3),
    (64, 16): Blocks(8, 16, 16, 4, 3),
    (128, 32): Blocks(8, 16, 16, 4, 3),
    (128, 64): Blocks(8, 32, 16, 8, 2),
}

WIDE_ANALYSIS, WIDE_SYNTHESIS = Blocks(16, 8, 8, 4, 2), (Blocks(8, 16, 16, 4, 2), Blocks(8, 8, 16, 4, 2))
"""In TF32, up to 128 numbers of a column; synthesis up to 32 pixels along x, and above.

On an H100, analysis and the former synthesis are the fastest for images of 56 pixels; but that does not fit into the
99 KB of shared memory of smaller GPUs where more than 32 pixels are written.
"""

OTHERS = Blocks(8, 16, 16, 8, 2), Blocks(8, 8, 8, 8, 1)
"""For other sizes in bfloat16: up to 128 numbers of a column, and above."""

WIDE_OTHERS = Blocks(8, 16, 8, 8, 1), Blocks(8, 8, 8, 8, 1)
"""The same in float32: products of tf32x3, what is added to images (both take more memory), and the largest sizes."""

ROOM = 16
"""Constant matrices have room for whole blocks of so many columns, or rows of pixels."""


@triton.jit
def _pixels(
    tile_y, tile_x, y, x, start_y, start_x, step_y, step_x, size_y, size_x, pixels_y, pixels_x, stride_y, stride_x
):  # fmt: skip
    """Where pixels (x, y) of a tile lie in an image, and which of them there are."""
    image_y, image_x = start_y + tile_y * step_y + y, start_x + tile_x * step_x + x
    there_y = (y < size_y) & (image_y >= 0) & (image_y < pixels_y)
    there_x = (x < size_x) & (image_x >= 0) & (image_x < pixels_x)
    return image_x * stride_x + image_y * stride_y, there_x & there_y


@triton.jit(do_not_specialize=GEOMETRY)
def _analysis(
    images, first, second, spectra, channels, columns, rows, count_y, count_x, start_y, start_x, step_y, step_x,
    size_y, size_x, pixels_y, pixels_x, matrix, stride_n, stride_c, stride_y, stride_x,
    PRECISION: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
    WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Writes spectra (tile, column, row and part, channel); programs: tiles, blocks of channels and of columns."""
    blocks_k, blocks_c = tl.cdiv(columns, COLUMNS), tl.cdiv(channels, CHANNELS)
    column = tl.program_id(0) % blocks_k * COLUMNS
    channel = tl.program_id(0) // blocks_k % blocks_c * CHANNELS
    tile = tl.program_id(0) // (blocks_k * blocks_c)
    x = tl.arange(0, WIDTH)
    pixel = tl.arange(0, PIXELS * CHANNELS)  # rows of pixels by channels
    part = tl.arange(0, 2 * PIXELS)  # cosine, sine of x by rows of pixels
    row = tl.arange(0, ROWS)
    to_x = tl.load(first + (2 * column + tl.arange(0, 2 * COLUMNS))[:, None] * WIDTH + x[None])
    source_channel = channel + pixel % CHANNELS
    images += (tile // (count_y * count_x)).to(tl.int64) * stride_n
    total = tl.zeros((ROWS, COLUMNS * CHANNELS), tl.float32)
    for start in range(0, size_y, PIXELS):
        y = start + pixel // CHANNELS
        place, there = _pixels(
            tile // count_x % count_y, tile % count_x, y[None], x[:, None], start_y, start_x, step_y, step_x, size_y,
            size_x, pixels_y, pixels_x, stride_y, stride_x,
        )  # fmt: skip
        there = there & (source_channel < channels)[None]
        values = tl.load(images + (place + source_channel[None] * stride_c), there, other=0)
        half = tl.dot(to_x, operand(values, to_x.dtype, PRECISION), input_precision=PRECISION)
        half = tl.permute(tl.reshape(half, (COLUMNS, 2, PIXELS, CHANNELS)), (1, 2, 0, 3))
        half = operand(tl.reshape(half, (2 * PIXELS, COLUMNS * CHANNELS)), to_x.dtype, PRECISION)
        to_y = tl.load(second + row[:, None] * (2 * matrix) + (part // PIXELS * matrix + start + part % PIXELS)[None])
        total = tl.dot(to_y, half, total, input_precision=PRECISION)
    number = tl.arange(0, COLUMNS * CHANNELS)
    k, c = column + number // CHANNELS, channel + number % CHANNELS
    spectra += tile.to(tl.int64) * columns * rows * channels
    target = spectra + ((k[None] * rows + row[:, None]) * channels + c[None])
    known = (row < rows)[:, None] & (k < columns)[None] & (c < channels)[None]
    tl.store(target, operand(total, to_x.dtype, PRECISION), known)


@triton.jit(do_not_specialize=GEOMETRY)
def _synthesis(
    images, first, second, spectra, channels, columns, rows, count_y, count_x, start_y, start_x, step_y, step_x,
    size_y, size_x, pixels_y, pixels_x, matrix, phase_y, phase_x, phases_y, phases_x,
    stride_n, stride_c, stride_y, stride_x, ADD: tl.constexpr,
    PRECISION: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
    WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Writes or adds tiles of one phase; programs: its tiles, blocks of channels and of rows of pixels."""
    blocks_y, blocks_c = tl.cdiv(size_y, PIXELS), tl.cdiv(channels, CHANNELS)
    start = tl.program_id(0) % blocks_y * PIXELS
    channel = tl.program_id(0) // blocks_y % blocks_c * CHANNELS
    number = tl.program_id(0) // (blocks_y * blocks_c)
    meant_y, meant_x = tl.cdiv(count_y - phase_y, phases_y), tl.cdiv(count_x - phase_x, phases_x)
    tile_y = phase_y + number // meant_x % meant_y * phases_y
    tile_x = phase_x + number % meant_x * phases_x
    image = number // (meant_y * meant_x)
    images += image.to(tl.int64) * stride_n
    spectra += ((image * count_y + tile_y) * count_x + tile_x).to(tl.int64) * columns * rows * channels
    x = tl.arange(0, WIDTH)
    pixel = tl.arange(0, PIXELS * CHANNELS)
    part = tl.arange(0, 2 * PIXELS)
    row = tl.arange(0, ROWS)
    number = tl.arange(0, COLUMNS * CHANNELS)
    to_y = tl.load(second + row[None] * (2 * matrix) + (part // PIXELS * matrix + start + part % PIXELS)[:, None])
    c = channel + number % CHANNELS
    total = tl.zeros((WIDTH, PIXELS * CHANNELS), tl.float32)
    for column in range(0, columns, COLUMNS):
        k = column + number // CHANNELS
        source = spectra + ((k[None] * rows + row[:, None]) * channels + c[None])
        known = (row < rows)[:, None] & (k < columns)[None] & (c < channels)[None]
        half = tl.dot(to_y, tl.load(source, known, other=0), input_precision=PRECISION)
        half = tl.permute(tl.reshape(half, (2, PIXELS, COLUMNS, CHANNELS)), (2, 0, 1, 3))
        half = operand(tl.reshape(half, (2 * COLUMNS, PIXELS * CHANNELS)), to_y.dtype, PRECISION)
        to_x = tl.load(first + (2 * column + tl.arange(0, 2 * COLUMNS))[None] * WIDTH + x[:, None])
        total = tl.dot(to_x, half, total, input_precision=PRECISION)
    y, target_channel = start + pixel // CHANNELS, channel + pixel % CHANNELS
    place, there = _pixels(
        tile_y, tile_x, y[None], x[:, None], start_y, start_x, step_y, step_x, size_y, size_x, pixels_y, pixels_x,
        stride_y, stride_x,
    )  # fmt: skip
    there = there & (target_channel < channels)[None]
    target = images + (place + target_channel[None] * stride_c)
    if ADD:
        total += tl.load(target, there, other=0)
    tl.store(target, total, there)


@bases.constant
def _first(
    positions: range, length: int, other: int, precision: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The step along x (2 * columns, positions), with room for whole blocks of both."""
    matrix = bases.first(positions, length, other).flatten(0, 1)
    room = 0, block(len(positions)) - len(positions), 0, -len(matrix) % (2 * ROOM)
    return rounded(F.pad(matrix, room).to(dtype), precision).to(device)


@bases.constant
def _second(
    positions: range, length: int, conjugate: bool, precision: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The step along y (rows and parts, 2, positions), with room for whole blocks of both."""
    matrix = bases.second(positions, length, conjugate).transpose(0, 1).flatten(0, 1)
    room = 0, -len(positions) % ROOM, 0, 0, 0, block(len(matrix)) - len(matrix)
    return rounded(F.pad(matrix, room).to(dtype), precision).to(device)


class Side:
    """One side of a layer, as :class:`torchdau.algorithms.spectral.transforms.Side`.

    Args:
        ys: the tiles along y.
        xs: the tiles along x.
        pixels: height and width of the images.
        lengths: transform length along y and along x.
        dtype: type of the spectra.
        device: the GPU.
        precision: of products of float32, "tf32" or "tf32x3".
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
        wide, large = dtype.itemsize > 2, rows > 128
        others = (WIDE_OTHERS if wide else OTHERS)[large]
        if wide:
            fast = precision == "tf32" and not large
            chosen = (WIDE_ANALYSIS, WIDE_SYNTHESIS[width > 32]) if fast else (others, others)
        else:
            chosen = ANALYSIS.get((rows, width), others), SYNTHESIS.get((rows, width), others)
        same = {"PRECISION": precision, "WIDTH": width, "ROWS": rows}
        self.analysis, self.synthesis, self.addition = (blocks._asdict() | same for blocks in (*chosen, others))
        self._parts: dict[tuple[int, int], tuple[Tiles, list[int]]] = {}

    def analyse(self, images: Tensor, part: slice, conjugate: bool, name: str) -> "Analysis":
        """Return the spectra of rows ``part`` of the tiles of images (N, G, C, H, W)."""
        return Analysis(self, images, part, conjugate)

    def synthesise(self, images: Tensor, part: slice, conjugate: bool, add: bool) -> "Synthesis":
        """Return the synthesis that writes such tiles into images, or adds them to images if ``add``."""
        return Synthesis(self, images, part, conjugate, add)

    def part(self, rows: slice) -> tuple[Tiles, list[int]]:
        """Return some rows of tiles along y, and the numbers of the kernels for them from ``columns`` to ``matrix``."""
        key = rows.start, rows.stop
        if key not in self._parts:
            axes = tiles, _ = self.ys.part(rows), self.xs
            numbers = [self.columns, self.rows, *(a.count for a in axes), *(a.start for a in axes)]
            numbers += [*(a.step for a in axes), *(a.size for a in axes), *self.pixels, self.seconds[0].shape[2]]
            self._parts[key] = tiles, numbers
        return self._parts[key]


def _strides(images: Tensor) -> tuple[int, ...]:
    """Return the strides (N, C, H, W) of images (N, G, C, H, W) whose groups are contiguous channels."""
    n, _, *others = images.stride()
    return n, *others


class Kept:
    """Spectra (tiles, columns * rows, 2, G, C) that exist already."""

    def __init__(self, spectra: Tensor) -> None:
        self._spectra = spectra

    def spectra(self, columns: slice) -> Tensor:
        """Return the spectra of all ``columns``."""
        return self._spectra.permute(2, 1, 3, 0, 4)


class Analysis(Kept):
    """The spectra of some tiles, written into ``spectra`` if given; all columns at once."""

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
    """The way back of :class:`Analysis`; tiles that overlap are added in phases, so that no two meet."""

    def __init__(self, side: Side, images: Tensor, part: slice, conjugate: bool, add: bool) -> None:
        self._side, self._images, self._part, self._conjugate, self._add = side, images, part, conjugate, add

    def put(self, columns: slice, spectra: Tensor) -> None:
        """Take the spectra of all ``columns`` and write the images."""
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
