"""Units to their 1-D spectra along one axis, and gradients of these to gradients of displacement and sigma."""

import torch
from torch import Tensor

from torchdau.algorithms.spectral import bases
from torchdau.profile import Profile, Samples
from torchdau.workspace import workspace


class UnitSpectra:
    """Spectra along one axis: cosine and sine transforms of the profiles of units, (2, frequencies, ...).

    A convolution of the profile's columns with a kernel is a product here. A kernel that all units share enters the
    constant matrix; one per unit is even or odd, so its own spectrum is one real number per frequency.

    Args:
        profile: the form of the units.
        count: number of frequencies 0, 1, ...
        length: transform length in pixels.
        like: a tensor with the data type and device of the computation.
    """

    def __init__(self, profile: Profile, count: int, length: int, like: Tensor) -> None:
        self._profile = profile
        self._count = count
        self._length = length
        self._like = like

    def write(self, mu: Tensor, sigma: Tensor, out: Tensor) -> None:
        """Writes the spectra of units at ``mu`` (K, P) into ``out`` (2, frequencies, K, P)."""
        samples = self._profile.samples(mu, sigma, self._columns(mu))
        self._transform(samples, out.view(2 * self._count, -1))
        if samples.kernel is not None and samples.kernel.ndim > 1:
            out *= self._kernel(samples)

    def displacement_gradient(self, mu: Tensor, sigma: Tensor, grad: Tensor) -> Tensor:
        """The gradient of ``mu`` from that of the spectra."""
        return self._contract(self._profile.displacement_derivative(mu, sigma, self._columns(mu)), grad)

    def sigma_gradient(self, mu: Tensor, sigma: Tensor, grad: Tensor) -> Tensor:
        """The gradient of ``sigma``, one per unit, from that of the spectra."""
        return self._contract(self._profile.sigma_derivative(mu, sigma, self._columns(mu)), grad)

    def _columns(self, mu: Tensor) -> Tensor | None:
        """Room for the columns of the bilinear form."""
        profile = self._profile
        if mu.dtype != self._like.dtype or profile.interpolation != "bilinear":
            return None
        return workspace("columns", (profile.size - 2 * profile.radius, *mu.shape), mu)

    def _transform(self, samples: Samples, out: Tensor) -> None:
        """Spectra (2 * frequencies, ...) of the columns, with the kernel if all units share it."""
        torch.mm(self._matrix(samples), samples.columns.flatten(1).to(out), out=out)

    def _contract(self, samples: Samples, grad: Tensor) -> Tensor:
        """Sum over frequencies of ``grad`` times the spectra of the samples, one number per unit.

        It uses the memory of the filters' spectra, which are of no use by then.
        """
        shape = samples.columns.shape[1:]
        if samples.kernel is None or samples.kernel.ndim == 1:
            products = workspace("filters", samples.columns.shape, grad)
            torch.mm(self._matrix(samples).t(), grad.flatten(0, 1).flatten(1), out=products.flatten(1))
            return products.mul_(samples.columns).sum(0)
        spectra = workspace("filters", grad.shape, grad)
        self._transform(samples, spectra.view(2 * self._count, -1))
        if samples.odd:  # the kernel's spectrum is imaginary: it turns cosines into sines
            spectra[1].mul_(grad[0]).neg_().addcmul_(spectra[0], grad[1])
        else:
            spectra[1].mul_(grad[1]).addcmul_(spectra[0], grad[0])
        return spectra[1].mul_(self._kernel(samples)).sum(0).view(shape)

    def _kernel(self, samples: Samples) -> Tensor:
        """The spectrum of each unit's own kernel, (frequencies, K, P): its real part if even, its imaginary if odd."""
        assert samples.kernel is not None
        radius = len(samples.kernel) // 2
        matrix = self._waves(range(-radius, radius + 1))[int(samples.odd)]
        kernel = samples.kernel.flatten(1).to(matrix)
        out = workspace("kernel", (self._count, kernel.shape[1]), matrix)
        return torch.mm(matrix, kernel, out=out).view(self._count, *samples.kernel.shape[1:])

    def _matrix(self, samples: Samples) -> Tensor:
        """The constant matrix (2 * frequencies, columns) from the columns, with the kernel if all units share it."""
        inner = 0 if samples.kernel is None else len(samples.kernel) // 2
        shared = samples.kernel is None or samples.kernel.ndim == 1
        margin = 0 if shared else inner
        positions = range(self._profile.first + margin, self._profile.last + 1 - margin)
        matrix = self._waves(positions).flatten(0, 1)
        return matrix if samples.kernel is None or not shared else torch.mm(matrix, samples.band().to(matrix))

    def _waves(self, positions: range) -> Tensor:
        """Cosines and sines (2, frequencies, positions)."""
        return bases.waves(self._count, positions, self._length, self._like.dtype, self._like.device)
