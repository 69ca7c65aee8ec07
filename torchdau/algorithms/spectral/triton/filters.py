"""Spectra of filters from units, and gradients of units from their gradients."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchdau.algorithms.spectral import bases
from torchdau.gpu.blocks import launch, operand
from torchdau.profile import Profile

NUMBERS = 1024
"""Units that a program processes for spectra; half of them for gradients. Fastest on an H100."""

LAYER = ["pairs", "outputs", "inputs", "units", "height", "width"]
"""Arguments that do not change the compiled code."""


@triton.jit
def _wave(circle, length, turns):
    """Return cosine and sine of 2 pi ``turns`` / T, from the table for 0 to T - 1."""
    place = (turns % length + length) % length
    return tl.load(circle + place), tl.load(circle + length + place)


@triton.jit
def _frequency(circle, length, k):
    """Return cosine and sine of 2 pi ``k`` / T, for k from 0 to T - 1."""
    return tl.load(circle + k), tl.load(circle + length + k)


@triton.jit
def _turned(real, imag, by_real, by_imag):
    """Return the product of complex numbers."""
    return real * by_real - imag * by_imag, real * by_imag + imag * by_real


@triton.jit
def _gaussian(sigma, cos, sin, RADIUS: tl.constexpr):
    """Return spectra of a unit's Gaussian and of its derivatives in displacement, over i, and in sigma.

    ``cos`` and ``sin`` are the values of one pixel at the frequency.
    """
    sharp = 1 / (sigma * sigma)
    norm = sharp * 0 + 1
    value, d_mu, second, spread = norm, norm * 0, norm * 0, norm * 0
    at_cos, at_sin = cos, sin
    for j in tl.static_range(1, RADIUS + 1):  # unrolled: terms without the frequency leave the loops
        both = 2 * tl.exp(-0.5 * j * j * sharp)
        norm += both
        value += both * at_cos
        d_mu += both * j * sharp * at_sin
        second += both * j * j
        spread += both * j * j * at_cos
        at_cos, at_sin = _turned(at_cos, at_sin, cos, sin)
    return value / norm, d_mu / norm, (spread - value * second / norm) / norm * sharp / sigma


@triton.jit
def _units(displacement, sigma, pairs, units, SHARED: tl.constexpr, UNITS: tl.constexpr, PAIRS: tl.constexpr):
    """Load a block of units (UNITS, PAIRS): pair, place, mask, sigma, and displacement as pixel and fraction."""
    pair, unit = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS), tl.arange(0, UNITS)[:, None]
    number = pair[None].to(tl.int64) * units + unit
    known = (pair < pairs)[None] & (unit < units)
    spread = tl.load(sigma) if SHARED else tl.load(sigma + number, known, other=1)
    mu_y = tl.load(displacement + 2 * number, known, other=0).to(tl.float32)
    mu_x = tl.load(displacement + 2 * number + 1, known, other=0).to(tl.float32)
    y, x = tl.floor(mu_y), tl.floor(mu_x)
    pixel_y, pixel_x = tl.where(mu_y == mu_y, y, 0).to(tl.int32), tl.where(mu_x == mu_x, x, 0).to(tl.int32)  # NaN
    return pair, number, known, spread.to(tl.float32), pixel_y, pixel_x, mu_y - y, mu_x - x


@triton.jit(do_not_specialize=LAYER)
def _spectra(
    weight, displacement, sigma, circle_y, circle_x, filters, pairs, units, height, width,
    RADIUS: tl.constexpr, SHARED: tl.constexpr, PRECISION: tl.constexpr, UNITS: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Write filters (column, row, 2, pairs); programs: blocks of pairs of channels, columns of frequencies."""
    kx = tl.program_id(1)
    pair, number, known, spread, pixel_y, pixel_x, beyond_y, beyond_x = _units(
        displacement, sigma, pairs, units, SHARED, UNITS, PAIRS
    )
    real, imag = _wave(circle_x, width, pixel_x * kx)
    cos, sin = _frequency(circle_x, width, kx)
    real, imag = _turned(real, imag, 1 - beyond_x + beyond_x * cos, beyond_x * sin)
    form, _, _ = _gaussian(spread, cos, sin, RADIUS)
    form *= tl.load(weight + number, known, other=0).to(tl.float32)
    x_real, x_imag = form * real, form * imag
    step_real, step_imag = _wave(circle_y, height, pixel_y)
    at_real, at_imag = step_real * 0 + 1, step_imag * 0
    target = filters + (kx * height).to(tl.int64) * 2 * pairs + pair
    mirror = target + (height // 2).to(tl.int64) * 2 * pairs  # the row of -ky
    for ky in range(height // 2 + 1):
        cos, sin = _frequency(circle_y, height, ky)
        gauss, _, _ = _gaussian(spread, cos, sin, RADIUS)
        real, imag = _turned(at_real, at_imag, gauss * (1 - beyond_y + beyond_y * cos), gauss * beyond_y * sin)
        real_real, imag_imag = tl.sum(real * x_real, 0), tl.sum(imag * x_imag, 0)
        real_imag, imag_real = tl.sum(real * x_imag, 0), tl.sum(imag * x_real, 0)
        tl.store(target, operand(real_real - imag_imag, filters.dtype.element_ty, PRECISION), pair < pairs)
        tl.store(target + pairs, operand(real_imag + imag_real, filters.dtype.element_ty, PRECISION), pair < pairs)
        twin = (ky > 0) & (2 * ky != height) & (pair < pairs)
        tl.store(mirror, operand(real_real + imag_imag, filters.dtype.element_ty, PRECISION), twin)
        tl.store(mirror + pairs, operand(real_imag - imag_real, filters.dtype.element_ty, PRECISION), twin)
        target += 2 * pairs
        mirror += 2 * pairs
        at_real, at_imag = _turned(at_real, at_imag, step_real, step_imag)


@triton.jit(do_not_specialize=LAYER)
def _gradients(
    grad, weight, displacement, sigma, circle_y, circle_x, sums, pairs, outputs, inputs, units, height, width,
    stride_part, stride_frequency, stride_group, stride_output, stride_input, RADIUS: tl.constexpr,
    SHARED: tl.constexpr, EXACT: tl.constexpr, SIGMA: tl.constexpr, UNITS: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Write the contribution of each column to the gradients of weight, displacement and sigma, (column, numbers).

    ``grad`` (2, columns * rows, groups, outputs, inputs) is the argument of :meth:`Filters.add_gradient`. Y and X are
    the spectra of a unit along y and x; the sums over ky of grad * Y are multiplied with X.
    """
    kx = tl.program_id(1)
    pair, number, known, spread, pixel_y, pixel_x, beyond_y, beyond_x = _units(
        displacement, sigma, pairs, units, SHARED, UNITS, PAIRS
    )
    group, output, input = pair // (outputs * inputs), pair // inputs % outputs, pair % inputs
    source = grad + group.to(tl.int64) * stride_group + output.to(tl.int64) * stride_output + input * stride_input
    here = source + (kx * height).to(tl.int64) * stride_frequency
    there = here + (height // 2).to(tl.int64) * stride_frequency  # the row of -ky
    step_real, step_imag = _wave(circle_y, height, pixel_y)
    at_real, at_imag = step_real * 0 + 1, step_imag * 0
    zero = tl.zeros((UNITS, PAIRS), tl.float32)
    real, imag, mu_real, mu_imag, sigma_real, sigma_imag = zero, zero, zero, zero, zero, zero
    for ky in range(height // 2 + 1):
        twin = (ky > 0) & (2 * ky != height) & (pair < pairs)
        a_real = tl.load(here, pair < pairs, other=0).to(tl.float32)
        a_imag = tl.load(here + stride_part, pair < pairs, other=0).to(tl.float32)
        b_real = tl.load(there, twin, other=0).to(tl.float32)
        b_imag = tl.load(there + stride_part, twin, other=0).to(tl.float32)
        sum_real, sum_imag = (a_real + b_real)[None], (a_imag + b_imag)[None]
        less_real, less_imag = (a_real - b_real)[None], (a_imag - b_imag)[None]
        cos, sin = _frequency(circle_y, height, ky)
        form, d_mu, d_sigma = _gaussian(spread, cos, sin, RADIUS)
        hat_real, hat_imag = _turned(at_real, at_imag, 1 - beyond_y + beyond_y * cos, beyond_y * sin)
        both_real = sum_real * hat_real - less_imag * hat_imag
        both_imag = sum_imag * hat_real + less_real * hat_imag
        real += form * both_real
        imag += form * both_imag
        if EXACT:
            hat_real, hat_imag = _turned(at_real, at_imag, cos - 1, sin)
            mu_real += form * (sum_real * hat_real - less_imag * hat_imag)
            mu_imag += form * (sum_imag * hat_real + less_real * hat_imag)
        else:
            mu_real -= d_mu * (sum_real * hat_imag + less_imag * hat_real)
            mu_imag += d_mu * (less_real * hat_real - sum_imag * hat_imag)
        if SIGMA:
            sigma_real += d_sigma * both_real
            sigma_imag += d_sigma * both_imag
        here += stride_frequency
        there += stride_frequency
        at_real, at_imag = _turned(at_real, at_imag, step_real, step_imag)
    at_real, at_imag = _wave(circle_x, width, pixel_x * kx)
    cos, sin = _frequency(circle_x, width, kx)
    form, d_mu, d_sigma = _gaussian(spread, cos, sin, RADIUS)
    x_real, x_imag = _turned(at_real, at_imag, 1 - beyond_x + beyond_x * cos, beyond_x * sin)
    amplitude = tl.load(weight + number, known, other=0).to(tl.float32)
    every = units.to(tl.int64) * pairs
    sums += kx.to(tl.int64) * every * (4 if SIGMA else 3)
    tl.store(sums + number, form * (real * x_real - imag * x_imag), known)
    place = sums + every + 2 * number
    tl.store(place, amplitude * form * (mu_real * x_real - mu_imag * x_imag), known)
    if EXACT:
        d_real, d_imag = _turned(at_real, at_imag, form * (cos - 1), form * sin)
    else:
        d_real, d_imag = -d_mu * x_imag, d_mu * x_real
    tl.store(place + 1, amplitude * (real * d_real - imag * d_imag), known)
    if SIGMA:
        value = form * (sigma_real * x_real - sigma_imag * x_imag) + d_sigma * (real * x_real - imag * x_imag)
        tl.store(sums + 3 * every + number, amplitude * value, known)


@bases.constant
def _circle(length: int, device: torch.device) -> Tensor:
    """Return cosines and sines (2, T) of 2 pi / T times 0 to T - 1."""
    angle = bases.turns([1], range(length), length)[0]
    return torch.stack([angle.cos(), angle.sin()]).to(device, torch.float32)


class Filters:
    """Spectra of filters and gradients of units, as :class:`torchdau.algorithms.spectral.filters.Filters`.

    ``dtype`` and ``precision`` are as in :class:`torchdau.algorithms.spectral.triton.transforms.Side`.
    """

    def __init__(
        self,
        profile: Profile,
        lengths: tuple[int, int],
        weight: Tensor,
        displacement: Tensor,
        sigma: Tensor,
        sigma_needed: bool,
        dtype: torch.dtype,
        precision: str,
    ) -> None:
        self._profile, self._lengths, self._dtype, self._precision = profile, lengths, dtype, precision
        self._sigma_needed = sigma_needed
        self._units = weight.contiguous(), displacement.contiguous(), sigma.contiguous()
        self._circles = [_circle(length, weight.device) for length in lengths]
        groups, outputs, inputs, self._count = weight.shape
        self._pairs = groups * outputs * inputs
        self._columns = bases.columns(lengths[1])
        units = triton.next_power_of_2(self._count)
        self._options = {"RADIUS": profile.radius, "SHARED": sigma.ndim == 0, "UNITS": units}
        self._spectra: Tensor | None = None
        self._grads: list[Tensor] | None = None

    def spectra(self, columns: slice) -> Tensor:
        """Return the spectra of all ``columns``, made once."""
        if self._spectra is None:
            shape = self._columns * self._lengths[0], 2, *self._units[0].shape[:3]
            self._spectra = torch.empty(shape, dtype=self._dtype, device=self._units[0].device)
            pairs = max(16, NUMBERS // self._options["UNITS"])
            launch(
                _spectra, self._grid(pairs), *self._units, *self._circles, self._spectra, self._pairs, self._count,
                *self._lengths, PRECISION=self._precision, PAIRS=pairs, **self._options, num_warps=4,
            )  # fmt: skip
        return self._spectra.transpose(0, 1)

    def add_gradient(self, columns: slice, grad: Tensor) -> None:
        """Add the contribution of all ``columns`` to the gradients."""
        weight, displacement, _ = self._units
        sums = weight.new_empty(self._columns, (4 if self._sigma_needed else 3) * weight.numel(), dtype=torch.float32)
        pairs = max(16, NUMBERS // (2 * self._options["UNITS"]))
        launch(
            _gradients, self._grid(pairs), grad, *self._units, *self._circles, sums, self._pairs, *weight.shape[1:],
            *self._lengths, *grad.stride(), EXACT=self._profile.displacement_gradient == "exact",
            SIGMA=self._sigma_needed, PAIRS=pairs, **self._options, num_warps=4,
        )  # fmt: skip
        widths = weight.numel(), displacement.numel(), *[weight.numel()] * self._sigma_needed
        grads = [
            part.sum(0).view(t.shape)
            for part, t in zip(sums.split(widths, 1), (weight, displacement, weight), strict=False)
        ]
        self._grads = grads if self._grads is None else [a + b for a, b in zip(self._grads, grads, strict=True)]

    def _grid(self, pairs: int) -> tuple[int, int, int]:
        """Return the number of programs, by blocks of ``pairs`` pairs of channels and by columns of frequencies."""
        return -(-self._pairs // pairs), self._columns, 1

    def gradients(self) -> list[Tensor]:
        """Return gradients of weight, displacement and each unit's sigma (empty if not needed)."""
        assert self._grads is not None
        return self._grads if self._sigma_needed else [*self._grads, self._grads[0][:0]]
