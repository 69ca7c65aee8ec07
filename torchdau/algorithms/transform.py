"""The constant matrices of the spectral algorithm: images to and from frequencies, units to spectra of filters.

The frequencies of a real image are a half-plane: columns kx = 0..Tx//2 and, in a column, rows ky of both signs. The two
columns that are their own mirror image (kx = 0 and, for even Tx, kx = Tx/2) need ky = 0..Ty//2 only.

A complex product Y = W X is three real ones, P1 = (Xr + Xi) Wr, P2 = Xr (Wr - Wi), P3 = -Xi (Wr + Wi), with
Yr = P1 + P3 and Yi = P1 - P2. What is multiplied per frequency are thus three *parts* of each spectrum. Everything here
is linear and comes with its adjoint, so that gradients go through the same matrices.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from torchdau.algorithms.workspace import workspace
from torchdau.profile import Profile, Samples

NARROW = 12
"""A matrix product with fewer columns than this is made transposed: it runs at a fraction of the speed otherwise."""


@dataclass(frozen=True)
class Frequencies:
    """The half-plane of frequencies of real tiles of ``height`` x ``width`` pixels."""

    height: int
    width: int

    @property
    def half(self) -> int:
        """Number of rows ky >= 0."""
        return self.height // 2 + 1

    @property
    def columns(self) -> int:
        """Number of columns kx."""
        return self.width // 2 + 1

    def mirrored(self, column: int) -> bool:
        """Whether the column is its own mirror image."""
        return column == 0 or 2 * column == self.width

    def rows(self, column: int) -> int:
        """Number of rows of a column: ky = 0..Ty//2 and then, unless it is mirrored, -1, -2 and so on."""
        return self.half if self.mirrored(column) else self.height

    def merge(self, products: Tensor, real: Tensor, imag: Tensor) -> None:
        """A column from the products (2, 2, half, ...) of cos and sin of y with cos and sin of x: exp(i y) exp(i x)."""
        (cc, cs), (sc, ss) = products
        upper, lower, twin = self._ranges(len(real))
        torch.sub(cc, ss, out=real[upper])
        torch.add(cs, sc, out=imag[upper])
        torch.add(cc[twin], ss[twin], out=real[lower])
        torch.sub(cs[twin], sc[twin], out=imag[lower])

    def split(self, real: Tensor, imag: Tensor, products: Tensor) -> None:
        """Adjoint of :meth:`merge`."""
        (cc, cs), (sc, ss) = products
        _, lower, twin = self._ranges(len(real))
        for alone in (slice(0, 1), slice(twin.stop, self.half)):  # rows with no row of the other sign
            cc[alone], cs[alone], sc[alone] = real[alone], imag[alone], imag[alone]
            torch.neg(real[alone], out=ss[alone])
        torch.add(real[twin], real[lower], out=cc[twin])
        torch.sub(real[lower], real[twin], out=ss[twin])
        torch.add(imag[twin], imag[lower], out=cs[twin])
        torch.sub(imag[twin], imag[lower], out=sc[twin])

    def _ranges(self, rows: int) -> tuple[slice, slice, slice]:
        """Of a column: rows ky >= 0, rows ky < 0, and the rows ky > 0 that have the latter as twins."""
        return slice(self.half), slice(self.half, rows), slice(1, rows - self.half + 1)


class ImageTransform:
    """Tiles to the three parts of their spectra, a column of frequencies at a time, and the adjoint way back.

    Args:
        frequencies: the half-plane.
        ys: position of each row of pixels of the tile.
        xs: position of each column of pixels of the tile.
        output: whether the tiles are the operator's output (else its input): then the parts are those of the adjoint,
            and the scale of the inverse transform is included.
        like: a tensor with the data type and device of the computation.
    """

    def __init__(
        self, frequencies: Frequencies, ys: Iterable[int], xs: Iterable[int], output: bool, like: Tensor
    ) -> None:
        f = self.frequencies = frequencies
        self._name = "output" if output else "input"
        self._order = (0, 2, 1) if output else (0, 1, 2)  # where Xr - Xi', Xr and Xi' stand, for X = Xr - i Xi'
        self._to_x = _interleaved(f.columns, xs, f.width).to(like)  # (2 n, w)
        plain = _stacked(f.half, ys, f.height)
        mirrored = plain.clone()
        if output:
            plain *= 2 / (f.height * f.width)
            mirrored *= 2 / (f.height * f.width)
            mirrored[:, 0] /= 2
            if f.height % 2 == 0:
                mirrored[:, -1] /= 2
        self._to_y = {False: plain.flatten(0, 1).to(like), True: mirrored.flatten(0, 1).to(like)}  # (2 half, h)

    def start(self, tiles: Tensor) -> Tensor:
        """Half-transformed tiles (columns, 2, B, h), cos and sin of x by rows of pixels, of tiles (B, h, w)."""
        b, h, w = tiles.shape
        half = workspace(f"{self._name} half", (len(self._to_x), b * h), tiles)
        return torch.mm(self._to_x, tiles.reshape(b * h, w).t(), out=half).view(-1, 2, b, h)

    def finish(self, half: Tensor) -> Tensor:
        """Adjoint of :meth:`start`."""
        columns, _, b, h = half.shape
        tiles = half.new_empty(b, h, self._to_x.shape[1])
        _product(half.view(columns * 2, b * h), self._to_x, tiles.flatten(0, 1))
        return tiles

    def parts(self, half: Tensor, column: int, keep: bool) -> Tensor:
        """The three parts (3, rows, B) of one column of the spectra."""
        f, b = self.frequencies, half.shape[2]
        products = workspace("products", (2 * f.half, 2 * b), half)
        torch.mm(self._to_y[f.mirrored(column)], half[column].flatten(0, 1).t(), out=products)
        parts = workspace(f"{self._name} parts {column if keep else 0}", (3, f.rows(column), b), half)
        difference, real, imag = (parts[place] for place in self._order)
        f.merge(products.view(2, f.half, 2, b).transpose(1, 2), real, imag)
        torch.sub(real, imag, out=difference)
        return parts

    def put(self, half: Tensor, column: int, parts: Tensor) -> None:
        """Adjoint of :meth:`parts`: writes a column of half-transformed tiles; overwrites the parts."""
        f, b = self.frequencies, half.shape[2]
        difference, real, imag = (parts.view(3, -1, b)[place] for place in self._order)
        real += difference
        imag -= difference
        products = workspace("products", (2, f.half, 2, b), half)
        f.split(real, imag, products.transpose(1, 2))
        _product(products.view(2 * f.half, 2 * b), self._to_y[f.mirrored(column)], half[column].flatten(0, 1))


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
        self._to_y = _stacked(f.half, positions, f.height).flatten(0, 1).to(weight)  # (2 half, taps)
        self._to_x = _interleaved(f.columns, positions, f.width).to(weight)  # (2 columns, taps)
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


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Writes ``a.t() @ b``."""
    if b.shape[1] < NARROW:
        out.copy_(torch.mm(b.t(), a).t())
    else:
        torch.mm(a.t(), b, out=out)


def _stacked(frequencies: int, positions: Iterable[int], length: int) -> Tensor:
    """Cosines, then sines, of 2 pi k q / T for k = 0, 1, ...: shape (2, frequencies, positions)."""
    k, q = torch.arange(frequencies)[:, None], torch.tensor(list(positions))
    angle = (k * q % length).double() * (2 * math.pi / length)
    return torch.stack([angle.cos(), angle.sin()])


def _interleaved(frequencies: int, positions: Iterable[int], length: int) -> Tensor:
    """The same with the sine after each cosine: shape (2 * frequencies, positions)."""
    return _stacked(frequencies, positions, length).transpose(0, 1).flatten(0, 1)
