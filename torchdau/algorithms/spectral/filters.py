"""Units to spectra of filters, and gradients of these to gradients of units."""

import torch
from torch import Tensor

from torchdau.algorithms.spectral.frequencies import Frequencies, interleaved, stacked
from torchdau.algorithms.spectral.workspace import workspace
from torchdau.profile import Profile, Samples


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
        self._profile, self._weight, self._displacement, self._sigma = profile, weight, displacement, sigma
        positions = range(profile.first, profile.last + 1)
        self._to_y = stacked(f.half, positions, f.height).flatten(0, 1).to(weight)  # (2 half, taps)
        self._to_x = interleaved(f.columns, positions, f.width).to(weight)  # (2 columns, taps)
        self._y = workspace("y", (2, f.half, k, p), weight)
        self._x = workspace("x", (f.columns, 2, k, p), weight)
        for mu, matrix, spectra in zip(displacement, (self._to_y, self._to_x), (self._y, self._x), strict=True):
            samples = profile.samples(mu, sigma)
            torch.mm(samples.after(matrix), samples.columns.flatten(1).to(weight), out=spectra.view(-1, k * p))
        self._products = workspace("filter products", (2, 2, f.half, p), weight)
        self._parts = workspace("filter parts", (3 * f.height, p), weight)
        self._grad_y: Tensor | None = None
        self._grad_x: Tensor | None = None

    def parts(self, column: int) -> Tensor:
        """The three parts (3, rows, P) of one column of the spectra; valid until the next call."""
        x = self._x[column] * self._weight
        for unit in range(len(self._weight)):
            factors = self._y[:, None, :, unit], x[None, :, None, unit]
            if unit == 0:
                torch.mul(*factors, out=self._products)
            else:
                self._products.addcmul_(*factors)
        rows = self.frequencies.rows(column)
        parts = self._parts[: 3 * rows].view(3, rows, -1)
        real, difference, total = parts
        self.frequencies.merge(self._products, real, total)
        torch.sub(real, total, out=difference)
        total += real
        return parts

    def add_gradient(self, column: int, grad: Tensor) -> None:
        """Adds what the gradient of one column of the parts gives to that of the units; overwrites it."""
        if self._grad_y is None or self._grad_x is None:
            self._grad_y = workspace("grad y", self._y.shape, self._y).zero_()
            self._scratch = workspace("filter scratch", (2, self.frequencies.half, self._weight.shape[1]), self._y)
            self._grad_x = workspace("grad x", self._x.shape, self._x)
        real, difference, total = grad.view(3, self.frequencies.rows(column), -1)
        real += difference
        real += total
        total -= difference
        self.frequencies.split(real, total, self._products)
        x = self._x[column] * self._weight
        for unit in range(len(self._weight)):
            for part in range(2):  # with the cosine of x, then with the sine
                products = self._products[:, part]
                self._grad_y[:, :, unit].addcmul_(products, x[part, unit])
                torch.mul(products, self._y[:, :, unit], out=self._scratch)
                torch.sum(self._scratch, (0, 1), out=self._grad_x[column, part, unit])

    def gradients(self, sigma: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of weight (K, P), displacement (2, K, P) and, where asked for, sigma (K, P); all columns added."""
        assert self._grad_y is not None
        assert self._grad_x is not None
        grad_weight = (self._grad_x * self._x).sum((0, 1))
        grads = self._grad_y.flatten(0, 1).flatten(1), self._grad_x.mul_(self._weight).flatten(0, 1).flatten(1)
        grad_displacement = torch.empty_like(self._displacement)
        grad_sigma = torch.zeros_like(self._weight if sigma else self._weight[:0])
        for axis, (grad, matrix) in enumerate(zip(grads, (self._to_y, self._to_x), strict=True)):
            mu = self._displacement[axis]
            derivative = self._profile.displacement_derivative(mu, self._sigma)
            grad_displacement[axis] = _contract(grad, matrix, derivative)
            if sigma:
                grad_sigma += _contract(grad, matrix, self._profile.sigma_derivative(mu, self._sigma))
        return grad_weight, grad_displacement, grad_sigma


def _contract(grad: Tensor, matrix: Tensor, samples: Samples) -> Tensor:
    """Sum over the window of ``matrix.t() @ grad``, one column per unit, times the samples."""
    columns = torch.mm(samples.after(matrix).t(), grad).view(samples.columns.shape)
    return columns.mul_(samples.columns).sum(0)
