"""One call of the spectral algorithm: how it is taken in pieces, and the forward and backward pass over them."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from torchdau.algorithms.spectral.call import Call, Layer, slices
from torchdau.algorithms.spectral.filters import FilterSpectra
from torchdau.algorithms.spectral.frequencies import Frequencies
from torchdau.algorithms.spectral.images import ImageTransform
from torchdau.algorithms.spectral.tiling import gather, scatter
from torchdau.workspace import workspace

IMAGE_WORKSPACE = 256 << 20
"""Bytes that half-transformed tiles may take; more are worked through in pieces of images and rows of tiles."""

UNIT_WORKSPACE = 128 << 20
"""Bytes that spectra of filters may take; more are worked through in pieces of output channels."""


class Task(Call):
    """One call: how it is cut, and the two passes over the pieces."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        f = self.frequencies = Frequencies(self.y.length, self.x.length)
        self.like = like = torch.empty(0, dtype=self.dtype, device=self.input.device)
        self.inside = ImageTransform(f, range(self.y.inputs.size), range(self.x.inputs.size), False, like)
        self.outside = ImageTransform(f, self.y.positions, self.x.positions, True, like)

    def forward(self) -> Tensor:
        """The output."""
        output = self.input.new_empty(self.n, self.groups * self.o, *self.output_size)
        channel_pieces = self._channel_pieces()
        keep = len(channel_pieces) > 1
        for images, rows in self._image_pieces(keep):
            tiles = gather(self.input[images], self.y.inputs.part(rows), self.x.inputs, self.like)
            spectra = self._spectra(self.inside, tiles, self.i, keep)
            for channels in channel_pieces:
                filters = FilterSpectra(self.frequencies, self.profile, *self.units(channels))
                target = self.by_groups(output, 1)[images, :, channels]
                half = self._half(tiles.shape[1] // self.i * target.shape[2], self.y.outputs.size)
                for column in range(self.frequencies.columns):
                    w = self._matrices(filters.parts(column), self.i)
                    self.outside.put(half, column, _product(spectra(column), w.mT, "product"))
                scatter(self.outside.finish(half), target, self.y.outputs.part(rows), self.x.outputs)
        bias = self.tensors[4]
        return output if bias is None else output.add_(bias[:, None, None])

    def backward(self, grad: Tensor, needed: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Gradients of input, weight, displacement, sigma and bias; one that is not ``needed`` is empty."""
        grad_bias = grad.sum((0, 2, 3)) if needed[4] else grad.new_empty(0)
        grad, needed = self.by_groups(grad, 1), needed[:4]
        totals = self.room(needed)
        grad_input = self.by_groups(totals[0], 1) if needed[0] else totals[0]
        channel_pieces = self._channel_pieces()
        keep = len(channel_pieces) > 1
        for images, rows in self._image_pieces(keep):
            tiles = gather(self.input[images], self.y.inputs.part(rows), self.x.inputs, self.like)
            spectra = self._spectra(self.inside, tiles, self.i, keep)
            half = self._half(tiles.shape[1], self.y.inputs.size)
            products: dict[int, Tensor] = {}  # by column, summed over the output channels
            for channels in channel_pieces:
                filters = FilterSpectra(self.frequencies, self.profile, *self.units(channels))
                source = grad[images, :, channels]
                tiles = gather(source, self.y.outputs.part(rows), self.x.outputs, self.like)
                grad_spectra = self._spectra(self.outside, tiles, source.shape[2], keep=False)
                for column in range(self.frequencies.columns):
                    d = grad_spectra(column)
                    if needed[0]:
                        w = self._matrices(filters.parts(column), self.i)
                        if channels.start == 0:
                            products[column] = _product(d, w, f"product {column if keep else 0}")
                        else:
                            products[column].baddbmm_(d, w)
                        if channels.stop == self.o:
                            self.inside.put(half, column, products.pop(column))
                    if any(needed[1:]):
                        filters.add_gradient(column, _product(d.mT, spectra(column), "filter gradient"))
                if any(needed[1:]):
                    self.add_unit_gradients(totals[1:], filters.gradients(needed[3]), channels)
            if needed[0]:
                scatter(self.inside.finish(half), grad_input[images], self.y.inputs.part(rows), self.x.inputs)
        image, w, mu, sigma = self.cast(totals)
        return image, w, mu, sigma, grad_bias

    def _half(self, channels: int, size: int) -> Tensor:
        """Room for half-transformed tiles (columns, cos and sin, rows of pixels, channels of all tiles)."""
        return workspace("out half", (self.frequencies.columns, 2, size, channels), self.like)

    def _matrices(self, parts: Tensor, channels: int) -> Tensor:
        """Parts of a column of spectra as one matrix per part, frequency and group."""
        return parts.view(parts.shape[0] * parts.shape[1] * self.groups, -1, channels)

    def _spectra(self, transform: ImageTransform, tiles: Tensor, channels: int, keep: bool) -> Callable[[int], Tensor]:
        """The spectra of tiles as a function of the column; ``keep`` makes them once for several uses."""
        half = transform.start(tiles)

        def spectra(column: int) -> Tensor:
            return self._matrices(transform.parts(half, column, keep), channels)

        if not keep:
            return spectra
        return [spectra(column) for column in range(self.frequencies.columns)].__getitem__

    def _channel_pieces(self) -> list[slice]:
        """Slices of a group's output channels whose filters' spectra fit into the workspace."""
        f = self.frequencies
        numbers = self.k * (2 * f.half + 2 * f.columns + self.profile.size) + 3 * f.height
        return slices(self.o, UNIT_WORKSPACE // (numbers * self.groups * self.i * self.dtype.itemsize))

    def _image_pieces(self, keep: bool) -> Iterator[tuple[slice, slice]]:
        """Slices of images and of rows of tiles whose half-transformed tiles, and kept spectra, fit."""
        f = self.frequencies
        size = max(self.y.inputs.size, self.y.outputs.size)
        numbers = 2 * f.columns * size * (self.i + self.o) + 3 * f.height * self.i * (2 * f.columns if keep else 1)
        rows = IMAGE_WORKSPACE // (numbers * self.groups * self.x.inputs.count * self.dtype.itemsize)
        for images in slices(self.n, rows // self.y.inputs.count):
            for part in slices(self.y.inputs.count, rows):
                yield images, part


def _product(a: Tensor, b: Tensor, name: str) -> Tensor:
    """``a @ b`` in the workspace of this name."""
    return torch.bmm(a, b, out=workspace(name, (len(a), a.shape[1], b.shape[2]), a))
