"""Tiles of images to spectra and back, one program per tile, channels and rows; see docs/algorithms.md.

A spectrum has four *parts* for every pair of frequencies (ky, kx) and (-ky, kx), 0 <= ky < half, 0 <= kx < columns:
real and imaginary part of the first, then of the second where that is another one. They lie as (columns, half, part,
tile, channel). The transform is orthogonal: its adjoint is the way back, for gradients and for outputs.
"""

import triton
import triton.language as tl

from torchdau.kernels.gpu.blocks import dot, has_twin, waves

GEOMETRY = [f"{name}_{axis}" for name in ("tiles", "pixels", "start", "size", "step", "length") for axis in "yx"]
"""Arguments whose values need no kernels of their own."""


@triton.jit
def _weight(ky, kx, length_y, length_x):
    """The weight of a frequency: less where it is its own mirror image."""
    alone = ((ky == 0) | (2 * ky == length_y)) & ((kx == 0) | (2 * kx == length_x))
    return tl.where(alone, 0.7071067811865476, 1.0)


@triton.jit(do_not_specialize=["first", *GEOMETRY])
def analysis(
    images,
    spectra,
    to_y,
    to_x,
    first,
    channels,
    tiles_y,
    pixels_y,
    start_y,
    size_y,
    step_y,
    length_y,
    tiles_x,
    pixels_x,
    start_x,
    size_x,
    step_x,
    length_x,
    stride_n,
    stride_c,
    stride_y,
    stride_x,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Spectra of tiles ``first`` and following, as many as programs on axis 0; zeros lie outside of the images."""
    half, columns = length_y // 2 + 1, length_x // 2 + 1
    tile = tl.program_id(0)
    c_first, ky_first = tl.program_id(1) * CHANNELS, tl.program_id(2) * ROWS
    n = (first + tile) // (tiles_y * tiles_x)
    top = start_y + (first + tile) // tiles_x % tiles_y * step_y
    left = start_x + (first + tile) % tiles_x * step_x

    flat = tl.arange(0, CHANNELS * WIDTH)
    c, x = c_first + flat // WIDTH, flat % WIDTH
    known_x = (c < channels) & (x < size_x) & (left + x >= 0) & (left + x < pixels_x)
    line = images + n.to(tl.int64) * stride_n + c.to(tl.int64) * stride_c + (left + x).to(tl.int64) * stride_x
    ky = ky_first + tl.arange(0, ROWS)
    cos_y = tl.zeros((ROWS, CHANNELS * WIDTH), tl.float32)
    sin_y = tl.zeros((ROWS, CHANNELS * WIDTH), tl.float32)
    for y_first in range(0, size_y, 16):
        y = y_first + tl.arange(0, 16)
        known_y = (y < size_y) & (top + y >= 0) & (top + y < pixels_y)
        pixels = tl.load(
            line[None] + (top + y).to(tl.int64)[:, None] * stride_y, known_y[:, None] & known_x[None], other=0
        )
        pixels = pixels.to(tl.float32)
        cos_y = dot(waves(to_y, ky[:, None], y[None], half, size_y, 0), pixels, cos_y, PRECISION)
        sin_y = dot(waves(to_y, ky[:, None], y[None], half, size_y, 1), pixels, sin_y, PRECISION)
    scale = tl.sqrt(2.0 / (length_y * length_x))
    cos_y = tl.reshape(cos_y * scale, (ROWS * CHANNELS, WIDTH))
    sin_y = tl.reshape(sin_y * scale, (ROWS * CHANNELS, WIDTH))

    rows = tl.arange(0, ROWS * CHANNELS)
    ky, c = (ky_first + rows // CHANNELS)[:, None], (c_first + rows % CHANNELS)[:, None]
    x = tl.arange(0, WIDTH)[:, None]
    part = tl.num_programs(0).to(tl.int64) * channels
    for kx_first in range(0, columns, COLUMNS):
        kx = (kx_first + tl.arange(0, COLUMNS))[None]
        cos_x = waves(to_x, kx, x, columns, size_x, 0)
        sin_x = waves(to_x, kx, x, columns, size_x, 1)
        zero = tl.zeros((ROWS * CHANNELS, COLUMNS), tl.float32)
        cc, cs = dot(cos_y, cos_x, zero, PRECISION), dot(cos_y, sin_x, zero, PRECISION)
        sc, ss = dot(sin_y, cos_x, zero, PRECISION), dot(sin_y, sin_x, zero, PRECISION)
        twin, weight = has_twin(ky, kx, length_y, length_x), _weight(ky, kx, length_y, length_x)
        known = (ky < half) & (kx < columns) & (c < channels)
        place = spectra + (kx * half + ky) * 4 * part + tile * channels + c
        tl.store(place, (cc - ss) * weight, known)
        tl.store(place + part, (cs + sc) * weight, known)
        tl.store(place + 2 * part, cc + ss, known & twin)
        tl.store(place + 3 * part, cs - sc, known & twin)


@triton.jit(do_not_specialize=["first", "phase_y", "phases_y", "phase_x", "phases_x", *GEOMETRY])
def synthesis(
    spectra,
    images,
    bias,
    to_y,
    to_x,
    first,
    channels,
    tiles_y,
    pixels_y,
    start_y,
    size_y,
    step_y,
    length_y,
    tiles_x,
    pixels_x,
    start_x,
    size_x,
    step_x,
    length_x,
    stride_n,
    stride_c,
    stride_y,
    stride_x,
    phase_y,
    phases_y,
    phase_x,
    phases_x,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ADD: tl.constexpr,
    BIAS: tl.constexpr,
):
    """Adjoint of :func:`analysis`: writes tiles or, with ADD, adds them: those of one phase, which do not overlap."""
    half, columns = length_y // 2 + 1, length_x // 2 + 1
    tile = tl.program_id(0)
    c_first, y_first = tl.program_id(1) * CHANNELS, tl.program_id(2) * ROWS
    n = (first + tile) // (tiles_y * tiles_x)
    row, column = (first + tile) // tiles_x % tiles_y, (first + tile) % tiles_x
    if (row % phases_y != phase_y) | (column % phases_x != phase_x):
        return

    flat = tl.arange(0, COLUMNS * CHANNELS)
    kx, c = (flat // CHANNELS)[None], (c_first + flat % CHANNELS)[None]
    part = tl.num_programs(0).to(tl.int64) * channels
    y = y_first + tl.arange(0, ROWS)
    cos_x = tl.zeros((ROWS, COLUMNS * CHANNELS), tl.float32)
    sin_x = tl.zeros((ROWS, COLUMNS * CHANNELS), tl.float32)
    for ky_first in range(0, half, 16):
        ky = (ky_first + tl.arange(0, 16))[:, None]
        twin, weight = has_twin(ky, kx, length_y, length_x), _weight(ky, kx, length_y, length_x)
        known = (ky < half) & (kx < columns) & (c < channels)
        place = spectra + (kx * half + ky) * 4 * part + tile * channels + c
        real = tl.load(place, known, other=0).to(tl.float32) * weight
        imag = tl.load(place + part, known, other=0).to(tl.float32) * weight
        twin_real = tl.load(place + 2 * part, known & twin, other=0).to(tl.float32)
        twin_imag = tl.load(place + 3 * part, known & twin, other=0).to(tl.float32)
        ky = (ky_first + tl.arange(0, 16))[None]
        cos_y = waves(to_y, ky, y[:, None], half, size_y, 0)
        sin_y = waves(to_y, ky, y[:, None], half, size_y, 1)
        cos_x = dot(cos_y, real + twin_real, cos_x, PRECISION)
        cos_x = dot(sin_y, imag - twin_imag, cos_x, PRECISION)
        sin_x = dot(cos_y, imag + twin_imag, sin_x, PRECISION)
        sin_x = dot(sin_y, twin_real - real, sin_x, PRECISION)
    scale = tl.sqrt(2.0 / (length_y * length_x))
    cos_x = tl.permute(tl.reshape(cos_x * scale, (ROWS, COLUMNS, CHANNELS)), (0, 2, 1))
    sin_x = tl.permute(tl.reshape(sin_x * scale, (ROWS, COLUMNS, CHANNELS)), (0, 2, 1))
    cos_x = tl.reshape(cos_x, (ROWS * CHANNELS, COLUMNS))
    sin_x = tl.reshape(sin_x, (ROWS * CHANNELS, COLUMNS))

    rows = tl.arange(0, ROWS * CHANNELS)
    y, c = (y_first + rows // CHANNELS)[:, None], (c_first + rows % CHANNELS)[:, None]
    kx = tl.arange(0, COLUMNS)[:, None]
    pixel_y = start_y + row * step_y + y
    known_y = (c < channels) & (y < size_y) & (pixel_y >= 0) & (pixel_y < pixels_y)
    line = images + n.to(tl.int64) * stride_n + c.to(tl.int64) * stride_c + pixel_y.to(tl.int64) * stride_y
    for x_first in range(0, size_x, WIDTH):
        x = (x_first + tl.arange(0, WIDTH))[None]
        pixels = tl.zeros((ROWS * CHANNELS, WIDTH), tl.float32)
        pixels = dot(cos_x, waves(to_x, kx, x, columns, size_x, 0), pixels, PRECISION)
        pixels = dot(sin_x, waves(to_x, kx, x, columns, size_x, 1), pixels, PRECISION)
        pixel_x = (start_x + column * step_x + x).to(tl.int64)
        known = known_y & (x < size_x) & (pixel_x >= 0) & (pixel_x < pixels_x)
        if BIAS:
            pixels += tl.load(bias + c, c < channels, other=0).to(tl.float32)
        if ADD:
            pixels += tl.load(line + pixel_x * stride_x, known, other=0).to(tl.float32)
        tl.store(line + pixel_x * stride_x, pixels, known)
