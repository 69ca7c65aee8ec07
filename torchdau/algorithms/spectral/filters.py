"""Units to spectra of filters, and gradients of these to gradients of units."""

from collections.abc import Iterator

import torch
from torch import Tensor

from torchdau.algorithms.spectral import bases
from torchdau.algorithms.spectral.units import UnitSpectra
from torchdau.profile import Profile
from torchdau.workspace import workspace

BLOCK = 1 << 16
"""Pairs of channels that elementwise operations take at a time, so that what they share stays in the cache."""


class Filters:
    """Spectra of filters of K units each, and gradients of the units.

    Where y and x are the angles of a unit, the rows of both signs of ky come from the same four products of
    cosines and sines: exp(i(y + x)) = (cc - ss) + i (cs + sc) and exp(i(-y + x)) = (cc + ss) + i (cs - sc).

    Args:
        profile: the form of the units.
        lengths: transform length along y and along x.
        weight: amplitudes (G, O, I, K).
        displacement: displacements (G, O, I, K, 2).
        sigma: Gaussian widths, (G, O, I, K) or a scalar.
    """

    def __init__(
        self, profile: Profile, lengths: tuple[int, int], weight: Tensor, displacement: Tensor, sigma: Tensor
    ) -> None:
        self._channels = weight.shape[:3]
        self._height = lengths[0]
        # units first: pairs of channels are worked through
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self._weight = weight.flatten(0, 2).t().to(dtype).contiguous()
        self._displacement = displacement.flatten(0, 2).permute(2, 1, 0).contiguous()
        self._sigma = sigma.flatten(0, 2).t().contiguous() if sigma.ndim else sigma
        counts = bases.columns(lengths[0]), bases.columns(lengths[1])
        self._units = [UnitSpectra(profile, *axis, self._weight) for axis in zip(counts, lengths, strict=True)]
        self._tables = [
            workspace(name, (2, count, *self._weight.shape), self._weight)
            for name, count in zip(("y", "x"), counts, strict=True)
        ]
        for units, mu, table in zip(self._units, self._displacement, self._tables, strict=True):
            units.write(mu, self._sigma, table)
        self._grads: list[Tensor] = []

    def spectra(self, columns: slice) -> Tensor:
        """Spectra of some columns; see :class:`torchdau.algorithms.spectral.steps.Filters`, also for the others."""
        count = columns.stop - columns.start
        spectra = workspace("filters", (2, count, self._height, self._weight.shape[1]), self._weight)
        for number in range(count):
            for pairs in self._blocks():
                y, x = self._factors(columns.start + number, pairs)
                products = self._room("filter products", 2, pairs)
                for unit in range(len(x[0])):
                    factors = y[:, None, :, unit], x[None, :, None, unit]
                    if unit == 0:
                        torch.mul(*factors, out=products)
                    else:
                        products.addcmul_(*factors)
                self._merge(products, *spectra[:, number, :, pairs])
        return spectra.view(2, count * self._height, *self._channels)

    def add_gradient(self, columns: slice, grad: Tensor, sigma: bool) -> None:
        """Adds what some columns give to the gradients."""
        if not self._grads:
            self._grads = [
                workspace(f"grad {name}", t.shape, t).zero_() for name, t in zip("yx", self._tables, strict=True)
            ]
        count = columns.stop - columns.start
        grad = grad.view(2, count, self._height, -1)
        for number in range(count):
            for pairs in self._blocks():
                products = self._room("filter products", 2, pairs)
                real, imag = grad[:, number, :, pairs]
                self._split(real, imag, products)
                y, x = self._factors(columns.start + number, pairs)
                grad_y, grad_x = (t[..., pairs] for t in self._grads)
                scratch = self._room("filter scratch", 1, pairs)[:, 0]
                for unit in range(len(x[0])):
                    for part in range(2):  # with the cosine of x, then with the sine
                        grad_y[:, :, unit].addcmul_(products[:, part], x[part, unit])
                        torch.mul(products[:, part], y[:, :, unit], out=scratch)
                        grad_x[part, columns.start + number, unit] += scratch.sum((0, 1))

    def gradients(self, sigma: bool) -> list[Tensor]:
        """Gradients of weight, displacement and each unit's sigma."""
        grad_x = self._grads[1]
        grad_weight = torch.empty_like(self._weight)
        for pairs in self._blocks():
            part = grad_x[..., pairs]
            grad_weight[:, pairs] = (part * self._tables[1][..., pairs]).sum((0, 1))
            part *= self._weight[:, pairs]
        grad_displacement = torch.empty_like(self._displacement)
        grad_sigma = torch.zeros_like(self._weight if sigma else self._weight[:0])
        for axis, units in enumerate(self._units):
            mu = self._displacement[axis]
            grad_displacement[axis] = units.displacement_gradient(mu, self._sigma, self._grads[axis])
            if sigma:
                grad_sigma += units.sigma_gradient(mu, self._sigma, self._grads[axis])
        shape = self._channels
        grads = [grad_weight.t().unflatten(0, shape), grad_displacement.permute(2, 1, 0).unflatten(0, shape)]
        return [*grads, grad_sigma.t().unflatten(0, shape) if sigma else grad_sigma]

    def _blocks(self) -> Iterator[slice]:
        return (slice(start, start + BLOCK) for start in range(0, self._weight.shape[1], BLOCK))

    def _factors(self, column: int, pairs: slice) -> tuple[Tensor, Tensor]:
        """The tables (2, rows ky >= 0, K, pairs) along y, and (2, K, pairs) along x times the weights."""
        y, x = self._tables
        return y[..., pairs], x[:, column, :, pairs] * self._weight[:, pairs]

    def _room(self, name: str, parts: int, pairs: slice) -> Tensor:
        """Room for a block of numbers (2, parts, rows ky >= 0, pairs)."""
        width = min(pairs.stop, self._weight.shape[1]) - pairs.start
        return workspace(name, (2, parts, bases.columns(self._height), width), self._weight)

    def _ranges(self) -> tuple[slice, slice, slice]:
        """Rows ky >= 0, rows ky < 0, and the rows ky > 0 that have the latter as twins."""
        half = bases.columns(self._height)
        return slice(half), slice(half, self._height), slice(1, self._height - half + 1)

    def _merge(self, products: Tensor, real: Tensor, imag: Tensor) -> None:
        """A column from the products (2, 2, rows ky >= 0, pairs) of cosine and sine of y with those of x."""
        (cc, cs), (sc, ss) = products
        upper, lower, twin = self._ranges()
        torch.sub(cc, ss, out=real[upper])
        torch.add(cs, sc, out=imag[upper])
        torch.add(cc[twin], ss[twin], out=real[lower])
        torch.sub(cs[twin], sc[twin], out=imag[lower])

    def _split(self, real: Tensor, imag: Tensor, products: Tensor) -> None:
        """Adjoint of :meth:`_merge` in the real part of a product: its imaginary factor counts with a minus."""
        (cc, cs), (sc, ss) = products
        _, lower, twin = self._ranges()
        for alone in (slice(0, 1), slice(twin.stop, len(cc))):  # rows with no row of the other sign
            cc[alone] = real[alone]
            torch.neg(imag[alone], out=cs[alone])
            torch.neg(imag[alone], out=sc[alone])
            torch.neg(real[alone], out=ss[alone])
        torch.add(real[twin], real[lower], out=cc[twin])
        torch.sub(real[lower], real[twin], out=ss[twin])
        torch.add(imag[twin], imag[lower], out=cs[twin]).neg_()
        torch.sub(imag[lower], imag[twin], out=sc[twin])
