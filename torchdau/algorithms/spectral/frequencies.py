"""The frequencies of real images, and the constant matrices that lead to them.

The frequencies of a real image are a half-plane: columns kx = 0..Tx//2 and, in a column, rows ky of both signs. The two
columns that are their own mirror image (kx = 0 and, for even Tx, kx = Tx/2) need ky = 0..Ty//2 only.

A complex product Y = W X is three real ones, P1 = Xr (Wr + Wi), P2 = (Xr - Xi) Wr, P3 = -(Xr + Xi) Wi, with
Yr = P1 + P3 and Yi = P1 - P2; the filters, of which there are more where it matters, need one sum only. What is
multiplied per frequency are thus three *parts* of each spectrum. Everything here is linear and comes with its adjoint,
so that gradients go through the same matrices.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


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


def stacked(frequencies: int, positions: range, length: int, like: Tensor) -> Tensor:
    """Cosines, then sines, of 2 pi k q / T for k = 0, 1, ...: shape (2, frequencies, positions), not to be changed."""
    return _stacked(frequencies, positions, length, like.dtype, like.device)


@lru_cache(maxsize=256)
def _stacked(frequencies: int, positions: range, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        k, q = torch.arange(frequencies, device="cpu")[:, None], torch.tensor(list(positions), device="cpu")
        angle = (k * q % length).double() * (2 * math.pi / length)
        return torch.stack([angle.cos(), angle.sin()]).to(device, dtype)


def interleaved(frequencies: int, positions: range, length: int, like: Tensor) -> Tensor:
    """The same with the sine after each cosine: shape (2 * frequencies, positions)."""
    return stacked(frequencies, positions, length, like).transpose(0, 1).flatten(0, 1)
