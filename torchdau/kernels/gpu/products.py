"""Products of spectra of images and filters over channels, and the gradients of units; see docs/algorithms.md.

The filters are made where they are used, from the 1-D spectra of units along y and x: tables (2, frequencies, units,
pairs), cosines, then sines, where a pair is (group, output, input). Spectra of images lie as ``images.py`` says; those
of a group, or of some of its channels, start at a channel of their own.
"""

import triton
import triton.language as tl

from torchdau.kernels.gpu.blocks import dot, has_twin


@triton.jit
def _tables(table, place, known, sine):
    """Cosines and sines at a block of units."""
    return tl.load(table + place, known, other=0), tl.load(table + sine + place, known, other=0)


@triton.jit(do_not_specialize=["tiles", "length_y", "length_x", "units", "sign"])
def product(
    source,
    target,
    weight,
    table_y,
    table_x,
    tiles,
    length_y,
    length_x,
    units,
    pairs,
    sources,
    targets,
    all_sources,
    all_targets,
    source_group,
    target_group,
    source_stride,
    target_stride,
    sign,
    ADD: tl.constexpr,
    PRECISION: tl.constexpr,
    TILES: tl.constexpr,
    TARGETS: tl.constexpr,
    SOURCES: tl.constexpr,
):
    """For a pair of frequencies and a group: target (tiles, targets) = source (tiles, sources) times the filters.

    ``sign`` is 1, or -1 for the conjugate filters. ADD adds to what the target holds. Programs: blocks of tiles, of
    these blocks of targets, of these pairs of frequencies, of these groups.
    """
    half, columns = length_y // 2 + 1, length_x // 2 + 1
    tile_blocks, target_blocks = tl.cdiv(tiles, TILES), tl.cdiv(targets, TARGETS)
    tile_block, rest = tl.program_id(0) % tile_blocks, tl.program_id(0) // tile_blocks
    target_block, rest = rest % target_blocks, rest // target_blocks
    frequency, group = rest % (half * columns), rest // (half * columns)
    kx, ky = frequency // half, frequency % half
    twin = has_twin(ky, kx, length_y, length_x)
    b = tile_block * TILES + tl.arange(0, TILES)[:, None]
    t = target_block * TARGETS + tl.arange(0, TARGETS)[None]
    table_y += ky.to(tl.int64) * units * pairs
    table_x += kx.to(tl.int64) * units * pairs
    sine_y, sine_x = half.to(tl.int64) * units * pairs, columns.to(tl.int64) * units * pairs
    part = tiles.to(tl.int64) * all_sources
    source += frequency * 4 * part + group * source_group
    dtype = source.dtype.element_ty

    real = tl.zeros((TILES, TARGETS), tl.float32)
    imag = tl.zeros((TILES, TARGETS), tl.float32)
    twin_real = tl.zeros((TILES, TARGETS), tl.float32)
    twin_imag = tl.zeros((TILES, TARGETS), tl.float32)
    for first in range(0, sources, SOURCES):
        s = first + tl.arange(0, SOURCES)[:, None]
        known = (s < sources) & (t < targets)
        cc = tl.zeros((SOURCES, TARGETS), tl.float32)
        cs = tl.zeros((SOURCES, TARGETS), tl.float32)
        sc = tl.zeros((SOURCES, TARGETS), tl.float32)
        ss = tl.zeros((SOURCES, TARGETS), tl.float32)
        for unit in range(units):
            place = unit * pairs + group * sources * targets + s * source_stride + t * target_stride
            w = tl.load(weight + place, known, other=0)
            cos_y, sin_y = _tables(table_y, place, known, sine_y)
            cos_x, sin_x = _tables(table_x, place, known, sine_x)
            cos_x *= w
            sin_x *= w
            cc += cos_y * cos_x
            cs += cos_y * sin_x
            sc += sin_y * cos_x
            ss += sin_y * sin_x
        s = first + tl.arange(0, SOURCES)[None]
        known = (b < tiles) & (s < sources)
        place = source + b * all_sources + s
        x, y = tl.load(place, known, other=0), tl.load(place + part, known, other=0)
        u, v, minus_v = (cc - ss).to(dtype), (sign * (cs + sc)).to(dtype), (-sign * (cs + sc)).to(dtype)
        real = dot(x, u, real, PRECISION)
        real = dot(y, minus_v, real, PRECISION)
        imag = dot(x, v, imag, PRECISION)
        imag = dot(y, u, imag, PRECISION)
        if twin:
            x, y = tl.load(place + 2 * part, known, other=0), tl.load(place + 3 * part, known, other=0)
            u, v, minus_v = (cc + ss).to(dtype), (sign * (cs - sc)).to(dtype), (sign * (sc - cs)).to(dtype)
            twin_real = dot(x, u, twin_real, PRECISION)
            twin_real = dot(y, minus_v, twin_real, PRECISION)
            twin_imag = dot(x, v, twin_imag, PRECISION)
            twin_imag = dot(y, u, twin_imag, PRECISION)

    known = (b < tiles) & (t < targets)
    part = tiles.to(tl.int64) * all_targets
    place = target + frequency * 4 * part + group * target_group + b * all_targets + t
    if ADD:
        real += tl.load(place, known, other=0)
        imag += tl.load(place + part, known, other=0)
    tl.store(place, real, known)
    tl.store(place + part, imag, known)
    if twin:
        place += 2 * part
        if ADD:
            twin_real += tl.load(place, known, other=0)
            twin_imag += tl.load(place + part, known, other=0)
        tl.store(place, twin_real, known)
        tl.store(place + part, twin_imag, known)


@triton.jit
def _minus(block):
    """The negative of a block of any type; by way of float32, because the interpreter has no sums of bfloat16."""
    return (-block.to(tl.float32)).to(block.dtype)


@triton.jit(do_not_specialize=["tiles", "length_y", "length_x", "units", "share"])
def unit_gradients(
    grad,
    image,
    shares,
    tables_y,
    tables_x,
    tiles,
    length_y,
    length_x,
    units,
    pairs,
    inputs,
    outputs,
    all_inputs,
    all_outputs,
    input_group,
    output_group,
    share,
    SIGMA: tl.constexpr,
    PRECISION: tl.constexpr,
    TILES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Gradients of units from the spectra of images and of the gradient of the output.

    Tables (forms, 2, frequencies, units, pairs) are those of the profile and of its derivatives in mu and in sigma; the
    last is there with SIGMA alone. Programs: blocks of outputs, blocks of inputs of all groups, shares of the pairs of
    frequencies, ``share`` in each. The sums of each share go to ``shares`` (shares, numbers, units, pairs): for the
    weight, mu along y, mu along x and sigma; the last three are to be multiplied by the weight.
    """
    half, columns = length_y // 2 + 1, length_x // 2 + 1
    blocks = tl.cdiv(inputs, INPUTS)
    group = tl.program_id(1) // blocks
    o_first, i_first = tl.program_id(0) * OUTPUTS, tl.program_id(1) % blocks * INPUTS
    o, i = o_first + tl.arange(0, OUTPUTS), i_first + tl.arange(0, INPUTS)
    image_part, grad_part = tiles.to(tl.int64) * all_inputs, tiles.to(tl.int64) * all_outputs
    image += group * input_group
    grad += group * output_group

    unit = tl.arange(0, UNITS)[:, None, None]
    place = unit * pairs + (group * outputs + o[None, :, None]) * inputs + i[None, None, :]
    known = (unit < units) & (o[None, :, None] < outputs) & (i[None, None, :] < inputs)
    row = units.to(tl.int64) * pairs
    sine_y, sine_x = half * row, columns * row
    d_weight = tl.zeros((UNITS, OUTPUTS, INPUTS), tl.float32)
    d_mu_y = tl.zeros((UNITS, OUTPUTS, INPUTS), tl.float32)
    d_mu_x = tl.zeros((UNITS, OUTPUTS, INPUTS), tl.float32)
    d_sigma = tl.zeros((UNITS, OUTPUTS, INPUTS), tl.float32)
    last = tl.minimum((tl.program_id(2) + 1) * share, half * columns)
    for frequency in range(tl.program_id(2) * share, last):
        kx, ky = frequency // half, frequency % half
        twin = has_twin(ky, kx, length_y, length_x)
        real = tl.zeros((OUTPUTS, INPUTS), tl.float32)
        imag = tl.zeros((OUTPUTS, INPUTS), tl.float32)
        twin_real = tl.zeros((OUTPUTS, INPUTS), tl.float32)
        twin_imag = tl.zeros((OUTPUTS, INPUTS), tl.float32)
        for first in range(0, tiles, TILES):
            b = first + tl.arange(0, TILES)
            x_known, d_known = (b[:, None] < tiles) & (i[None] < inputs), (b[None] < tiles) & (o[:, None] < outputs)
            x_place = image + frequency * 4 * image_part + b[:, None] * all_inputs + i[None]
            d_place = grad + frequency * 4 * grad_part + b[None] * all_outputs + o[:, None]
            x, y = tl.load(x_place, x_known, other=0), tl.load(x_place + image_part, x_known, other=0)
            u, v = tl.load(d_place, d_known, other=0), tl.load(d_place + grad_part, d_known, other=0)
            real = dot(u, x, real, PRECISION)
            real = dot(v, y, real, PRECISION)
            imag = dot(u, y, imag, PRECISION)
            imag = dot(_minus(v), x, imag, PRECISION)
            if twin:
                x = tl.load(x_place + 2 * image_part, x_known, other=0)
                y = tl.load(x_place + 3 * image_part, x_known, other=0)
                u = tl.load(d_place + 2 * grad_part, d_known, other=0)
                v = tl.load(d_place + 3 * grad_part, d_known, other=0)
                twin_real = dot(u, x, twin_real, PRECISION)
                twin_real = dot(v, y, twin_real, PRECISION)
                twin_imag = dot(u, y, twin_imag, PRECISION)
                twin_imag = dot(_minus(v), x, twin_imag, PRECISION)
        cc, ss = (real + twin_real)[None], (twin_real - real)[None]
        cs, sc = (imag + twin_imag)[None], (imag - twin_imag)[None]
        cos_y, sin_y = _tables(tables_y + ky * row, place, known, sine_y)
        cos_x, sin_x = _tables(tables_x + kx * row, place, known, sine_x)
        along_cos_y, along_sin_y = cc * cos_x + cs * sin_x, sc * cos_x + ss * sin_x
        along_cos_x, along_sin_x = cc * cos_y + sc * sin_y, cs * cos_y + ss * sin_y
        d_weight += along_cos_y * cos_y + along_sin_y * sin_y
        cos_y, sin_y = _tables(tables_y + 2 * sine_y + ky * row, place, known, sine_y)
        cos_x, sin_x = _tables(tables_x + 2 * sine_x + kx * row, place, known, sine_x)
        d_mu_y += along_cos_y * cos_y + along_sin_y * sin_y
        d_mu_x += along_cos_x * cos_x + along_sin_x * sin_x
        if SIGMA:
            cos_y, sin_y = _tables(tables_y + 4 * sine_y + ky * row, place, known, sine_y)
            cos_x, sin_x = _tables(tables_x + 4 * sine_x + kx * row, place, known, sine_x)
            d_sigma += along_cos_y * cos_y + along_sin_y * sin_y + along_cos_x * cos_x + along_sin_x * sin_x
    shares += tl.program_id(2) * (3 + SIGMA) * row + place
    tl.store(shares, d_weight, known)
    tl.store(shares + row, d_mu_y, known)
    tl.store(shares + 2 * row, d_mu_x, known)
    if SIGMA:
        tl.store(shares + 3 * row, d_sigma, known)
