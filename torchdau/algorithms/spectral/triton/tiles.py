"""Kernels that transform tiles of images to spectra and back, by constant matrices along x and along y."""

import triton
import triton.language as tl

from torchdau.gpu.blocks import operand

GEOMETRY = [
    *("columns", "rows", "count_y", "count_x", "start_y", "start_x", "step_y", "step_x"),
    *("size_y", "size_x", "pixels_y", "pixels_x", "phase_y", "phase_x", "phases_y", "phases_x", "matrix"),
]
"""Arguments that do not change the compiled code."""


@triton.jit
def _pixels(
    tile_y, tile_x, y, x, start_y, start_x, step_y, step_x, size_y, size_x, pixels_y, pixels_x, stride_y, stride_x
):  # fmt: skip
    """Return the places of pixels (x, y) of a tile in an image, and a mask of existing ones."""
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
    """Write spectra (tile, column, row and part, channel); programs: tiles, blocks of channels and of columns."""
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
    """Write or add tiles of one phase; programs: its tiles, blocks of channels and of rows of pixels."""
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
