"""Images to spectra and back."""

from collections.abc import Iterable

import torch
from torch import Tensor

from torchdau.algorithms.spectral.frequencies import Frequencies, interleaved, stacked
from torchdau.algorithms.spectral.workspace import workspace

NARROW = 12
"""A matrix product with fewer columns than this is made transposed: it runs at a fraction of the speed otherwise."""


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
        self._to_x = interleaved(f.columns, xs, f.width).to(like)  # (2 n, w)
        plain = stacked(f.half, ys, f.height)
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


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Writes ``a.t() @ b``."""
    if b.shape[1] < NARROW:
        out.copy_(torch.mm(b.t(), a).t())
    else:
        torch.mm(a.t(), b, out=out)
