"""Spectra of filters from units, and gradients of units from their gradients."""

import torch
from torch import Tensor

from torchdau.algorithms.spectral import bases
from torchdau.profile import Profile
from torchdau.workspace import workspace

BLOCK = 1 << 16
"""Pairs of channels processed at a time, so that the data shared by their steps stay in the cache."""


class Filters:
    """Spectra of filters of K units each, and gradients of the units.

    Args:
        profile: form of the units.
        lengths: transform length along y and along x.
        weight: amplitudes (G, O, I, K).
        displacement: displacements (G, O, I, K, 2).
        sigma: Gaussian widths, (G, O, I, K) or a scalar.
        sigma_needed: whether the gradient of sigma is needed.
    """

    def __init__(
        self,
        profile: Profile,
        lengths: tuple[int, int],
        weight: Tensor,
        displacement: Tensor,
        sigma: Tensor,
        sigma_needed: bool,
    ) -> None:
        self._sigma_needed = sigma_needed
        self._channels, self._lengths = weight.shape[:3], lengths
        self._weight = weight.flatten(0, 2).to(torch.promote_types(weight.dtype, torch.float32))
        displacement = displacement.flatten(0, 2)
        sigmas = sigma.flatten(0, 2).split(BLOCK) if sigma.ndim else [sigma] * -(-len(displacement) // BLOCK)
        blocks = self._weight.split(BLOCK), displacement.split(BLOCK), sigmas, self._tables("")
        self._blocks = [_Block(profile, lengths, *block) for block in zip(*blocks, strict=True)]

    def spectra(self, columns: slice) -> Tensor:
        """Return spectra (2, columns * rows, G, O, I) of some columns; valid until the next call."""
        count = columns.stop - columns.start
        spectra = workspace("filters", (2, count, self._lengths[0], len(self._weight)), self._weight)
        for number in range(count):
            for block, part in zip(self._blocks, spectra[:, number].split(BLOCK, -1), strict=True):
                block.write(columns.start + number, *part)
        return spectra.view(2, count * self._lengths[0], *self._channels)

    def add_gradient(self, columns: slice, grad: Tensor) -> None:
        """Add the contribution of some columns to the gradients.

        Args:
            columns: columns of frequencies.
            grad: products (2, columns * rows, G, O, I) of the spectra of the images with the conjugate spectra of the
                gradient of the output. The loss changes by the real part of ``grad`` times a change of filters.
        """
        if not self._blocks[0].grads:
            for block, tables in zip(self._blocks, self._tables("grad "), strict=True):
                block.grads = [table.zero_() for table in tables]
        grad = grad.view(2, columns.stop - columns.start, self._lengths[0], -1)
        for number in range(grad.shape[1]):
            for block, part in zip(self._blocks, grad[:, number].split(BLOCK, -1), strict=True):
                block.add_gradient(columns.start + number, *part)

    def gradients(self) -> list[Tensor]:
        """Return gradients of weight, displacement and each unit's sigma (empty if not needed)."""
        blocks = zip(*(block.gradients(self._sigma_needed) for block in self._blocks), strict=True)
        return [torch.cat(parts).unflatten(0, self._channels) for parts in blocks]

    def _tables(self, name: str) -> list[list[Tensor]]:
        """Allocate tables along y and along x (2, frequencies, K, pairs) for each block."""
        pairs, units = self._weight.shape
        tables = []
        for axis, length in zip("yx", self._lengths, strict=True):
            room = workspace(f"{name}{axis}", (pairs, 2 * bases.columns(length) * units), self._weight)
            tables.append([part.view(2, -1, units, len(part)) for part in room.split(BLOCK)])
        return [list(block) for block in zip(*tables, strict=True)]


class _Block:
    """The units of some pairs of channels, and their 1-D spectra: cosine and sine transforms."""

    def __init__(
        self,
        profile: Profile,
        lengths: tuple[int, int],
        weight: Tensor,
        displacement: Tensor,
        sigma: Tensor,
        tables: list[Tensor],
    ) -> None:
        self._profile, self._height = profile, lengths[0]
        self._weight = weight.t().contiguous()  # units first, so that vectors run over pairs of channels
        self._displacement = displacement.permute(2, 1, 0).contiguous()
        self._sigma = sigma.t().contiguous() if sigma.ndim else sigma
        window = range(profile.first, profile.last + 1)
        kind = weight.dtype, weight.device
        self._waves = [bases.waves(bases.columns(length), window, length, *kind).flatten(0, 1) for length in lengths]
        self._tables = tables
        for waves, mu, table in zip(self._waves, self._displacement, tables, strict=True):
            samples = profile.samples(mu, self._sigma).to(table).flatten(1)
            torch.mm(waves, samples, out=table.view(len(waves), -1))
        self.grads: list[Tensor] = []

    def write(self, column: int, real: Tensor, imag: Tensor) -> None:
        """Write one column (rows, pairs) of the spectra of the filters."""
        y, x = self._factors(column)
        products = self._room("filter products", 2)
        for unit in range(len(x[0])):
            factors = y[:, None, :, unit], x[None, :, None, unit]
            if unit == 0:
                torch.mul(*factors, out=products)
            else:
                products.addcmul_(*factors)
        self._merge(products, real, imag)

    def add_gradient(self, column: int, real: Tensor, imag: Tensor) -> None:
        """Add the contribution of one column to the gradients of the tables."""
        products, scratch = self._room("filter products", 2), self._room("filter scratch", 1)[:, 0]
        self._split(real, imag, products)
        y, x = self._factors(column)
        grad_y, grad_x = self.grads
        for unit in range(len(x[0])):
            for part in range(2):  # with the cosine of x, then with the sine
                grad_y[:, :, unit].addcmul_(products[:, part], x[part, unit])
                torch.mul(products[:, part], y[:, :, unit], out=scratch)
                grad_x[part, column, unit] += scratch.sum((0, 1))

    def gradients(self, sigma: bool) -> list[Tensor]:
        """Return gradients of weight (pairs, K), displacement (pairs, K, 2) and, on request, sigma (pairs, K)."""
        grad_weight = (self.grads[1] * self._tables[1]).sum((0, 1))
        self.grads[1] *= self._weight
        grad_displacement = torch.empty_like(self._displacement)
        grad_sigma = torch.zeros_like(self._weight if sigma else self._weight[:0])
        for axis, (waves, mu, grad) in enumerate(zip(self._waves, self._displacement, self.grads, strict=True)):
            grad_samples = torch.mm(waves.t(), grad.view(len(waves), -1)).view(-1, *mu.shape)
            derivative = self._profile.displacement_derivative(mu, self._sigma)
            grad_displacement[axis] = (grad_samples * derivative).sum(0)
            if sigma:
                grad_sigma += (grad_samples * self._profile.sigma_derivative(mu, self._sigma)).sum(0)
        return [grad_weight.t(), grad_displacement.permute(2, 1, 0), grad_sigma.t()]

    def _factors(self, column: int) -> tuple[Tensor, Tensor]:
        """Return the tables (2, rows ky >= 0, K, pairs) along y, and (2, K, pairs) along x times the weights."""
        y, x = self._tables
        return y, x[:, column] * self._weight

    def _room(self, name: str, parts: int) -> Tensor:
        """Allocate room for numbers (2, parts, rows ky >= 0, pairs)."""
        return workspace(name, (2, parts, bases.columns(self._height), self._weight.shape[1]), self._weight)

    def _ranges(self) -> tuple[slice, slice, slice]:
        """Return slices of the rows ky >= 0, of the rows ky < 0, and of the latter's twins with ky > 0."""
        half = bases.columns(self._height)
        return slice(half), slice(half, self._height), slice(1, self._height - half + 1)

    def _merge(self, products: Tensor, real: Tensor, imag: Tensor) -> None:
        """Compute a column from the products (2, 2, rows ky >= 0, pairs) of cosine and sine of y and of x."""
        (cc, cs), (sc, ss) = products
        upper, lower, twin = self._ranges()
        torch.sub(cc, ss, out=real[upper])
        torch.add(cs, sc, out=imag[upper])
        torch.add(cc[twin], ss[twin], out=real[lower])
        torch.sub(cs[twin], sc[twin], out=imag[lower])

    def _split(self, real: Tensor, imag: Tensor, products: Tensor) -> None:
        """Apply the adjoint of :meth:`_merge` in the real part of a product: the imaginary part is negated."""
        (cc, cs), (sc, ss) = products
        _, lower, twin = self._ranges()
        for alone in (slice(0, 1), slice(twin.stop, len(cc))):  # rows without a twin
            cc[alone] = real[alone]
            torch.neg(imag[alone], out=cs[alone])
            torch.neg(imag[alone], out=sc[alone])
            torch.neg(real[alone], out=ss[alone])
        torch.add(real[twin], real[lower], out=cc[twin])
        torch.sub(real[lower], real[twin], out=ss[twin])
        torch.add(imag[twin], imag[lower], out=cs[twin]).neg_()
        torch.sub(imag[lower], imag[twin], out=sc[twin])
