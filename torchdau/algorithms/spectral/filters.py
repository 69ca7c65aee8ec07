"""Units to spectra of filters, and gradients of these to gradients of units."""

from collections.abc import Iterator

import torch
from torch import Tensor

from torchdau.algorithms.spectral.frequencies import Frequencies
from torchdau.algorithms.spectral.units import UnitSpectra
from torchdau.profile import Profile
from torchdau.workspace import workspace

BLOCK = 1 << 16
"""Pairs of channels that elementwise operations take at a time, so that what they share stays in the cache."""


class FilterSpectra:
    """Spectra of the filters that K units make for each of P pairs of channels, a column at a time, and gradients.

    Args:
        frequencies: the half-plane.
        profile: the form of the units.
        weight: amplitudes (K, P).
        displacement: displacements (2, K, P), along y and along x.
        sigma: Gaussian widths, (K, P) or a scalar.
    """

    def __init__(
        self, frequencies: Frequencies, profile: Profile, weight: Tensor, displacement: Tensor, sigma: Tensor
    ) -> None:
        f = self.frequencies = frequencies
        k, p = weight.shape
        self._weight, self._displacement, self._sigma = weight, displacement, sigma
        self._units_y = UnitSpectra(profile, f.half, f.height, weight)
        self._units_x = UnitSpectra(profile, f.columns, f.width, weight)
        self._y = workspace("y", (2, f.half, k, p), weight)
        self._x = workspace("x", (2, f.columns, k, p), weight)
        self._units_y.write(displacement[0], sigma, self._y)
        self._units_x.write(displacement[1], sigma, self._x)
        self._parts = workspace("filter parts", (3 * f.height, p), weight)
        self._grad_y: Tensor | None = None
        self._grad_x: Tensor | None = None

    def parts(self, column: int) -> Tensor:
        """The three parts (3, rows, P) of one column of the spectra; valid until the next call."""
        rows = self.frequencies.rows(column)
        parts = self._parts[: 3 * rows].view(3, rows, -1)
        for pairs in self._blocks():
            y, x = self._y[..., pairs], self._x[:, column, :, pairs] * self._weight[:, pairs]
            products = self._room("filter products", 2, pairs)
            for unit in range(len(x[0])):
                factors = y[:, None, :, unit], x[None, :, None, unit]
                if unit == 0:
                    torch.mul(*factors, out=products)
                else:
                    products.addcmul_(*factors)
            total, real, imag = parts[..., pairs]
            self.frequencies.merge(products, real, imag)
            torch.add(real, imag, out=total)
        return parts

    def add_gradient(self, column: int, grad: Tensor) -> None:
        """Adds what the gradient of one column of the parts gives to that of the units; overwrites it."""
        if self._grad_y is None or self._grad_x is None:
            self._grad_y = workspace("grad y", self._y.shape, self._y).zero_()
            self._grad_x = workspace("grad x", self._x.shape, self._x)
        grad = grad.view(3, self.frequencies.rows(column), -1)
        for pairs in self._blocks():
            total, real, imag = grad[..., pairs]
            real += total
            imag += total
            products = self._room("filter products", 2, pairs)
            self.frequencies.split(real, imag, products)
            y, x = self._y[..., pairs], self._x[:, column, :, pairs] * self._weight[:, pairs]
            grad_y, grad_x = self._grad_y[..., pairs], self._grad_x[:, column, :, pairs]
            scratch = self._room("filter scratch", 1, pairs)[:, 0]
            for unit in range(len(x[0])):
                for part in range(2):  # with the cosine of x, then with the sine
                    grad_y[:, :, unit].addcmul_(products[:, part], x[part, unit])
                    torch.mul(products[:, part], y[:, :, unit], out=scratch)
                    torch.sum(scratch, (0, 1), out=grad_x[part, unit])

    def gradients(self, sigma: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of weight (K, P), displacement (2, K, P) and, where asked for, sigma (K, P); all columns added."""
        assert self._grad_y is not None
        assert self._grad_x is not None
        grad_weight = torch.empty_like(self._weight)
        for pairs in self._blocks():
            grad_x = self._grad_x[..., pairs]
            grad_weight[:, pairs] = (grad_x * self._x[..., pairs]).sum((0, 1))
            grad_x *= self._weight[:, pairs]
        grad_displacement = torch.empty_like(self._displacement)
        grad_sigma = torch.zeros_like(self._weight if sigma else self._weight[:0])
        axes = (self._units_y, self._grad_y), (self._units_x, self._grad_x)
        for axis, (units, grad) in enumerate(axes):
            mu = self._displacement[axis]
            grad_displacement[axis] = units.displacement_gradient(mu, self._sigma, grad)
            if sigma:
                grad_sigma += units.sigma_gradient(mu, self._sigma, grad)
        return grad_weight, grad_displacement, grad_sigma

    def _blocks(self) -> Iterator[slice]:
        return (slice(start, start + BLOCK) for start in range(0, self._weight.shape[1], BLOCK))

    def _room(self, name: str, parts: int, pairs: slice) -> Tensor:
        """Room for a block of numbers (2, parts, half, pairs)."""
        width = min(pairs.stop, self._weight.shape[1]) - pairs.start
        return workspace(name, (2, parts, self.frequencies.half, width), self._weight)
