"""Units to their 1-D spectra, and to those of their derivatives; the formulas are those of ``torchdau/profile.py``."""

import triton
import triton.language as tl

from torchdau.kernels.gpu.blocks import dot, waves


@triton.jit(
    do_not_specialize=["units", "inputs", "outputs", "all_outputs", "start", "frequencies", "first", "size", "radius"]
)
def tables(
    displacement,
    sigma,
    table,
    to_frequencies,
    units,
    pairs,
    inputs,
    outputs,
    all_outputs,
    start,
    frequencies,
    first,
    size,
    radius,
    SHARED: tl.constexpr,
    GAUSSIAN: tl.constexpr,
    EXACT: tl.constexpr,
    FORMS: tl.constexpr,
    PRECISION: tl.constexpr,
    UNITS: tl.constexpr,
    POSITIONS: tl.constexpr,
    FREQUENCIES: tl.constexpr,
):
    """Writes ``table`` (FORMS, 2, frequencies, units, pairs): of the profile, of its derivatives in mu and in sigma.

    ``displacement`` (groups, all_outputs, inputs, units, 2) begins at the axis that is meant, and is read for outputs
    from ``start``. ``first``, ``size`` and ``radius`` are those of the profile. Programs: blocks of units.
    """
    number = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    known = number < units * pairs
    pair = number % pairs
    group, output = pair // (outputs * inputs), pair // inputs % outputs
    place = ((group * all_outputs + start + output) * inputs + pair % inputs) * units + number // pairs
    mu = tl.load(displacement + 2 * place, known, other=0)[:, None]
    if SHARED:
        width = tl.load(sigma) + tl.zeros((UNITS, 1), tl.float32)
    else:
        width = tl.load(sigma + place, known, other=1)[:, None]
    sharp = 1 / (width * width)
    q = tl.arange(0, POSITIONS)[None]
    inside = q < size
    q = (q + first).to(tl.float32)
    if GAUSSIAN:
        distance = q - mu
        square = distance * distance
        nearest = tl.min(tl.where(inside, square, float("inf")), 1)[:, None]  # so that a narrow one does not underflow
        value = tl.where(inside, tl.exp((nearest - square) * sharp / 2), 0)
        value = value / tl.sum(value, 1)[:, None]
        d_mu = value * (distance - tl.sum(value * distance, 1)[:, None]) * sharp
        d_sigma = value * (square - tl.sum(value * square, 1)[:, None]) * sharp / width
    else:
        norm, second = tl.zeros((UNITS, 1), tl.float32) + 1, tl.zeros((UNITS, 1), tl.float32)
        for j in range(1, radius + 1):
            both = 2 * tl.exp(-0.5 * j * j * sharp)
            norm += both
            second += j * j * both
        whole = tl.floor(mu)
        beyond = mu - whole
        distance = q - whole
        far = distance - 1
        g_near = tl.where(tl.abs(distance) <= radius, tl.exp(-0.5 * distance * distance * sharp), 0) / norm
        g_far = tl.where(tl.abs(far) <= radius, tl.exp(-0.5 * far * far * sharp), 0) / norm
        near_part, far_part = (1 - beyond) * g_near, beyond * g_far
        value = near_part + far_part
        if EXACT:
            d_mu = g_far - g_near
        else:
            d_mu = (near_part * distance + far_part * far) * sharp
        mean = second / norm
        d_sigma = (near_part * (distance * distance - mean) + far_part * (far * far - mean)) * sharp / width

    q = tl.arange(0, POSITIONS)[:, None]
    row = units.to(tl.int64) * pairs
    for frequency in range(0, frequencies, FREQUENCIES):
        f = (frequency + tl.arange(0, FREQUENCIES))[None]
        target = table + f * row + number[:, None]
        sine = frequencies * row
        stored = known[:, None] & (f < frequencies)
        zero = tl.zeros((UNITS, FREQUENCIES), tl.float32)
        cos = waves(to_frequencies, f, q, frequencies, size, 0)
        sin = waves(to_frequencies, f, q, frequencies, size, 1)
        tl.store(target, dot(value, cos, zero, PRECISION), stored)
        tl.store(target + sine, dot(value, sin, zero, PRECISION), stored)
        if FORMS > 1:
            tl.store(target + 2 * sine, dot(d_mu, cos, zero, PRECISION), stored)
            tl.store(target + 3 * sine, dot(d_mu, sin, zero, PRECISION), stored)
        if FORMS > 2:
            tl.store(target + 4 * sine, dot(d_sigma, cos, zero, PRECISION), stored)
            tl.store(target + 5 * sine, dot(d_sigma, sin, zero, PRECISION), stored)
