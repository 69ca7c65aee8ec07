"""Images to spectra and back."""

import torch
from torch import Tensor

from torchdau.algorithms.spectral.frequencies import Frequencies, interleaved, stacked
from torchdau.workspace import workspace

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

    def __init__(self, frequencies: Frequencies, ys: range, xs: range, output: bool, like: Tensor) -> None:
        f = self.frequencies = frequencies
        self._name = "output" if output else "input"
        self._output = output
        self._places = (2, 1) if output else (0, 2)  # of cosines and sines among the parts
        self._to_x = interleaved(f.columns, xs, f.width, like)  # (2 n, w)
        plain = stacked(f.half, ys, f.height, like) * (2 / (f.height * f.width) if output else 1)
        mirrored = plain.clone()
        if output:
            mirrored[:, 0] /= 2
            if f.height % 2 == 0:
                mirrored[:, -1] /= 2
        self._to_y = {False: plain.flatten(0, 1), True: mirrored.flatten(0, 1)}  # (2 half, h)

    def start(self, tiles: Tensor) -> Tensor:
        """Half-transformed tiles (columns, 2, h, B), cos and sin of x by rows of pixels, of tiles (h, B, w)."""
        h, b, w = tiles.shape
        half = workspace(f"{self._name} half", (len(self._to_x), h * b), tiles)
        return torch.mm(self._to_x, tiles.view(h * b, w).t(), out=half).view(-1, 2, h, b)

    def finish(self, half: Tensor) -> Tensor:
        """Adjoint of :meth:`start`."""
        _, _, h, b = half.shape
        half, w = half.view(-1, h * b), self._to_x.shape[1]
        if w < NARROW:
            return torch.mm(self._to_x.t(), half, out=workspace("tiles", (w, h * b), half)).t().view(h, b, w)
        return torch.mm(half.t(), self._to_x, out=workspace("tiles", (h * b, w), half)).view(h, b, w)

    def parts(self, half: Tensor, column: int, keep: bool) -> Tensor:
        """The three parts (3, rows, B) of one column of the spectra."""
        f, b = self.frequencies, half.shape[3]
        matrix = self._to_y[f.mirrored(column)].expand(2, -1, -1)
        products = torch.bmm(matrix, half[column], out=workspace("products", (2, 2 * f.half, b), half))
        parts = workspace(f"{self._name} parts {column if keep else 0}", (3, f.rows(column), b), half)
        real, imag = (parts[place] for place in self._places)
        f.merge(products.view(2, 2, f.half, b).transpose(0, 1), real, imag)
        if self._output:
            torch.sub(real, imag, out=parts[0])
        else:
            torch.add(real, imag, out=parts[1])
            imag -= real
        return parts

    def put(self, half: Tensor, column: int, parts: Tensor) -> None:
        """Adjoint of :meth:`parts`: writes a column of half-transformed tiles; overwrites the parts."""
        f, b = self.frequencies, half.shape[3]
        parts = parts.view(3, -1, b)
        real, imag = (parts[place] for place in self._places)
        if self._output:
            real += parts[0]
            imag -= parts[0]
        else:
            real += parts[1]
            real -= imag
            imag += parts[1]
        products = workspace("products", (2, 2 * f.half, b), half)
        f.split(real, imag, products.view(2, 2, f.half, b).transpose(0, 1))
        matrix = self._to_y[f.mirrored(column)].expand(2, -1, -1)
        torch.bmm(matrix.mT, products, out=half[column])
