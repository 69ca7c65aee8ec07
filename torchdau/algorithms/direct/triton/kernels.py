"""Triton kernels of layers with few channels in a group: a program makes a tile of one channel of one image.

Everything is linear and shift-invariant, so the Gaussian comes once, after the units. A program first computes ``z =
sum_k w_k T(mu_k) x`` on the tile and a margin, where T shifts an image by bilinear interpolation. Then ``G z`` is a
product with a band matrix on either side. Units with a sigma each are smoothed one by one.
"""

import triton
import triton.language as tl

from torchdau.gpu.blocks import operand

LAYER = [
    *("groups", "outputs", "inputs", "units", "by_output", "by_input", "height", "width", "out_height", "out_width"),
    *("origin_y", "origin_x"),
]
"""Arguments that do not change the compiled code."""


@triton.jit
def _distances(ROWS: tl.constexpr, SIDE: tl.constexpr, STEP: tl.constexpr, RADIUS: tl.constexpr):
    """Return the distances of the pixels that a tile reads (columns) from its outputs (rows)."""
    return (tl.arange(0, SIDE)[None] - tl.arange(0, ROWS)[:, None] * STEP - RADIUS).to(tl.float32)


@triton.jit
def _gaussian(j, sigma, RADIUS: tl.constexpr):
    """Return the Gaussian at distances from -r to r, 0 beyond."""
    sharp = 1 / (sigma * sigma)
    norm = sharp * 0 + 1
    for i in tl.static_range(1, RADIUS + 1):
        norm += 2 * tl.exp(-0.5 * i * i * sharp)
    return tl.where(tl.abs(j) > RADIUS, 0.0, tl.exp(-0.5 * j * j * sharp) / norm)


@triton.jit
def _widened(sigma, j, gauss, RADIUS: tl.constexpr):
    """Return the derivative of :func:`_gaussian` in sigma."""
    sharp = 1 / (sigma * sigma)
    norm, second = sharp * 0 + 1, sharp * 0
    for i in tl.static_range(1, RADIUS + 1):
        norm += 2 * tl.exp(-0.5 * i * i * sharp)
        second += 2 * i * i * tl.exp(-0.5 * i * i * sharp)
    return gauss * (j * j - second / norm) * sharp / sigma


@triton.jit
def _around(left, middle, right, PRECISION: tl.constexpr):
    """Return the product of three matrices."""
    first = tl.dot(
        operand(left, tl.float32, PRECISION), operand(middle, tl.float32, PRECISION), input_precision=PRECISION
    )
    return tl.dot(
        operand(first, tl.float32, PRECISION), operand(right, tl.float32, PRECISION), input_precision=PRECISION
    )


@triton.jit
def _place(displacement, number, SIGN: tl.constexpr):
    """Return a unit's displacement as a pixel and a fraction: (y, x, beyond y, beyond x)."""
    mu_y = SIGN * tl.load(displacement + 2 * number).to(tl.float32)
    mu_x = SIGN * tl.load(displacement + 2 * number + 1).to(tl.float32)
    y, x = tl.floor(mu_y), tl.floor(mu_x)
    pixel_y, pixel_x = tl.where(mu_y == mu_y, y, 0).to(tl.int32), tl.where(mu_x == mu_x, x, 0).to(tl.int32)  # NaN
    return pixel_y, pixel_x, mu_y - y, mu_x - x


@triton.jit
def _pixels(image, rows, columns, height, width, UP_Y: tl.constexpr, UP_X: tl.constexpr):
    """Load pixels of an image with ``UP - 1`` zeros between its rows and columns; zero outside."""
    inside = ((rows >= 0) & (rows < height * UP_Y))[:, None] & ((columns >= 0) & (columns < width * UP_X))[None]
    if UP_Y > 1:
        inside = inside & (rows % UP_Y == 0)[:, None]
    if UP_X > 1:
        inside = inside & (columns % UP_X == 0)[None]
    return tl.load(image + (rows // UP_Y)[:, None] * width + (columns // UP_X)[None], inside, other=0).to(tl.float32)


@triton.jit
def _corners(image, rows, columns, height, width, UP_Y: tl.constexpr, UP_X: tl.constexpr):
    """Load the four images around a shifted one: upper left and right, lower left and right."""
    return (
        _pixels(image, rows, columns, height, width, UP_Y, UP_X),
        _pixels(image, rows, columns + 1, height, width, UP_Y, UP_X),
        _pixels(image, rows + 1, columns, height, width, UP_Y, UP_X),
        _pixels(image, rows + 1, columns + 1, height, width, UP_Y, UP_X),
    )


@triton.jit
def _tile(out_height, out_width, EACH_Y: tl.constexpr, EACH_X: tl.constexpr):
    """Return a program's plane and tile, the number of tiles of a plane, and the first output (y, x)."""
    across = tl.cdiv(out_width, EACH_X)
    tiles = tl.cdiv(out_height, EACH_Y) * across
    tile = tl.program_id(0) % tiles
    return (tl.program_id(0) // tiles).to(tl.int64), tile, tiles, tile // across * EACH_Y, tile % across * EACH_X


@triton.jit
def _outputs(plane, first_y, first_x, out_height, out_width, EACH_Y: tl.constexpr, EACH_X: tl.constexpr,
             ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """Return the places of a tile's outputs, and a mask of existing ones."""
    y, x = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None]
    inside = (y < EACH_Y) & (first_y + y < out_height) & (x < EACH_X) & (first_x + x < out_width)
    return plane * out_height * out_width + (first_y + y) * out_width + first_x + x, inside


@triton.jit(do_not_specialize=LAYER)
def _filtered(
    image, weight, displacement, sigma, bias, output, groups, outputs, inputs, units, by_output, by_input, height,
    width, out_height, out_width, origin_y, origin_x, SIGN: tl.constexpr, UP_Y: tl.constexpr,
    UP_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr, SHARED: tl.constexpr, BIAS: tl.constexpr,
    RADIUS: tl.constexpr, EACH_Y: tl.constexpr, EACH_X: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write sums of units over the inputs of a group, (images, groups * outputs, out_height, out_width).

    An output at ``p`` reads around pixel ``STEP * p + origin`` of images whose pixels are ``UP`` apart. ``by_output``
    and ``by_input`` are the steps from channel to channel of a group in the tensors of units. A program makes
    ``EACH_Y`` by ``EACH_X`` outputs.
    """
    plane, _, _, first_y, first_x = _tile(out_height, out_width, EACH_Y, EACH_X)
    rows = first_y * STEP_Y + origin_y - RADIUS + tl.arange(0, SIDE)
    columns = first_x * STEP_X + origin_x - RADIUS + tl.arange(0, SIDE)
    pairs = plane // outputs % groups * (inputs * outputs) + plane % outputs * by_output
    image += plane // outputs * inputs * height * width
    j_y, j_x = _distances(ROWS, SIDE, STEP_Y, RADIUS), _distances(COLUMNS, SIDE, STEP_X, RADIUS)
    if SHARED:
        total = tl.zeros((SIDE, SIDE), tl.float32)
    else:
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for each in range(inputs * units):
        number = (pairs + each // units * by_input) * units + each % units
        y, x, beyond_y, beyond_x = _place(displacement, number, SIGN)
        part = image + (each // units).to(tl.int64) * height * width
        a, b, c, d = _corners(part, rows + y, columns + x, height, width, UP_Y, UP_X)
        upper, lower = a + (b - a) * beyond_x, c + (d - c) * beyond_x
        shifted = tl.load(weight + number).to(tl.float32) * (upper + (lower - upper) * beyond_y)
        if SHARED:
            total += shifted
        else:
            spread = tl.load(sigma + number).to(tl.float32)
            gauss_y, gauss_x = _gaussian(j_y, spread, RADIUS), _gaussian(j_x, spread, RADIUS)
            total += _around(gauss_y, shifted, tl.trans(gauss_x), PRECISION)
    if SHARED:
        spread = tl.load(sigma).to(tl.float32)
        gauss_y, gauss_x = _gaussian(j_y, spread, RADIUS), _gaussian(j_x, spread, RADIUS)
        total = _around(gauss_y, total, tl.trans(gauss_x), PRECISION)
    if BIAS:
        total += tl.load(bias + plane % (groups * outputs)).to(tl.float32)
    place, inside = _outputs(plane, first_y, first_x, out_height, out_width, EACH_Y, EACH_X, ROWS, COLUMNS)
    tl.store(output + place, total.to(output.dtype.element_ty), inside)


@triton.jit
def _smoothed(grad, sigma, STEP_Y: tl.constexpr, STEP_X: tl.constexpr, EXACT: tl.constexpr, SIGMA: tl.constexpr,
              RADIUS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SIDE: tl.constexpr,
              PRECISION: tl.constexpr):  # fmt: skip
    """Smooth a tile of an output's gradient onto the pixels that it reads.

    The four results use the Gaussian along both axes, and its derivatives along y, along x, and in sigma.
    """
    j_y, j_x = _distances(ROWS, SIDE, STEP_Y, RADIUS), _distances(COLUMNS, SIDE, STEP_X, RADIUS)
    gauss_y, gauss_x = _gaussian(j_y, sigma, RADIUS), _gaussian(j_x, sigma, RADIUS)
    even = _around(tl.trans(gauss_y), grad, gauss_x, PRECISION)
    along_y, along_x, wider = even, even, even
    if not EXACT:
        sharp = 1 / (sigma * sigma)
        along_y = _around(tl.trans(gauss_y * j_y * sharp), grad, gauss_x, PRECISION)
        along_x = _around(tl.trans(gauss_y), grad, gauss_x * j_x * sharp, PRECISION)
    if SIGMA:
        wider = _around(tl.trans(_widened(sigma, j_y, gauss_y, RADIUS)), grad, gauss_x, PRECISION)
        wider += _around(tl.trans(gauss_y), grad, _widened(sigma, j_x, gauss_x, RADIUS), PRECISION)
    return even, along_y, along_x, wider


@triton.jit(do_not_specialize=LAYER)
def _unit_gradients(
    grad, image, weight, displacement, sigma, sums, groups, outputs, inputs, units, by_output, by_input, height,
    width, out_height, out_width, origin_y, origin_x, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    SHARED: tl.constexpr, EXACT: tl.constexpr, SIGMA: tl.constexpr, RADIUS: tl.constexpr, EACH_Y: tl.constexpr,
    EACH_X: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the contribution of each tile of an output to the gradients of weight, displacement and sigma.

    ``sums`` is (images * tiles, 3 or 4 numbers for each unit): first all weights, then all displacements (y, x) and,
    with ``SIGMA``, all sigmas.
    """
    plane, tile, tiles, first_y, first_x = _tile(out_height, out_width, EACH_Y, EACH_X)
    rows = first_y * STEP_Y + origin_y - RADIUS + tl.arange(0, SIDE)
    columns = first_x * STEP_X + origin_x - RADIUS + tl.arange(0, SIDE)
    pairs = plane // outputs % groups * (inputs * outputs) + plane % outputs * by_output
    image += plane // outputs * inputs * height * width
    place, inside = _outputs(plane, first_y, first_x, out_height, out_width, EACH_Y, EACH_X, ROWS, COLUMNS)
    part = tl.load(grad + place, inside, other=0).to(tl.float32)
    every = groups.to(tl.int64) * outputs * inputs * units
    sums += (plane // (groups * outputs) * tiles + tile) * every * (4 if SIGMA else 3)
    if SHARED:
        even, along_y, along_x, wider = _smoothed(
            part, tl.load(sigma).to(tl.float32), STEP_Y, STEP_X, EXACT, SIGMA, RADIUS, ROWS, COLUMNS, SIDE, PRECISION
        )
    for each in range(inputs * units):
        number = (pairs + each // units * by_input) * units + each % units
        y, x, beyond_y, beyond_x = _place(displacement, number, 1)
        channel = image + (each // units).to(tl.int64) * height * width
        a, b, c, d = _corners(channel, rows + y, columns + x, height, width, 1, 1)
        upper, lower = a + (b - a) * beyond_x, c + (d - c) * beyond_x
        shifted = upper + (lower - upper) * beyond_y
        if not SHARED:
            spread = tl.load(sigma + number).to(tl.float32)
            even, along_y, along_x, wider = _smoothed(
                part, spread, STEP_Y, STEP_X, EXACT, SIGMA, RADIUS, ROWS, COLUMNS, SIDE, PRECISION
            )
        amplitude = tl.load(weight + number).to(tl.float32)
        target = sums + number
        tl.store(target, tl.sum(even * shifted))
        target += every + number
        if EXACT:
            left, right = a + (c - a) * beyond_y, b + (d - b) * beyond_y
            tl.store(target, amplitude * tl.sum(even * (lower - upper)))
            tl.store(target + 1, amplitude * tl.sum(even * (right - left)))
        else:
            tl.store(target, amplitude * tl.sum(along_y * shifted))
            tl.store(target + 1, amplitude * tl.sum(along_x * shifted))
        if SIGMA:
            tl.store(sums + 3 * every + number, amplitude * tl.sum(wider * shifted))
