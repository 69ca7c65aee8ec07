"""One call of the spectral algorithm: its division into pieces, and the forward and backward pass over them."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdau.algorithms.layer import Layer
from torchdau.algorithms.registered import layout
from torchdau.algorithms.spectral import bases
from torchdau.algorithms.spectral.filters import Filters
from torchdau.algorithms.spectral.planning import plan
from torchdau.algorithms.spectral.products import product
from torchdau.algorithms.spectral.tiling import Axis, Tiles
from torchdau.algorithms.spectral.transforms import Side

IMAGE_WORKSPACE = 256 << 20
"""Most bytes of half-transformed tiles; more are processed in pieces of images and rows of tiles."""

UNIT_WORKSPACE = 128 << 20
"""Most bytes of spectra of units; more are processed in pieces of output channels."""

BLOCK = 1 << 18
"""Numbers of the spectra made at a time: few enough for the cache, many enough for a matrix product."""


class Tensors(NamedTuple):
    """The tensors of one call; see :mod:`torchdau.algorithms`."""

    input: Tensor
    weight: Tensor
    displacement: Tensor
    sigma: Tensor
    bias: Tensor | None


class Task:
    """A layer in PyTorch: its division into pieces, and the two passes over them.

    An output tile is the synthesis of a product: the analysis of an input tile times the spectra of the filters. The
    backward pass uses conjugate spectra, so the same filters apply. The input gradient is the synthesis of the analysed
    output gradient times the filters. The gradient of a filter's spectrum is the product of the two analyses. A
    constant is one frequency: there the bias is added and its gradient read.

    A task holds nothing of a call, so all calls with the same layer can share it.

    Attributes:
        kept: shape of the spectra of the input that the forward pass can keep for the backward pass; (0,) for none.
    """

    kept: tuple[int, ...] = (0,)

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.n, _, *size = layer.input
        self.groups, (o, self.i, self.k) = layer.groups, layer.weight
        self.o = o // self.groups
        axes = tuple(zip(size, layer.stride, layer.padding, strict=True))
        self.output_shape = layer.output
        self.y, self.x = y, x = self._axes(axes)
        self.lengths = y.length, x.length
        self.columns = bases.columns(x.length)
        self.scale = math.sqrt(y.length * x.length)  # from a constant to its number in the spectrum
        self.inside = self._side(y.inputs, x.inputs, size)
        self.outside = self._side(y.outputs, x.outputs, self.output_shape[2:])
        self.channel_pieces, self.image_pieces = self._channel_pieces(), self._image_pieces()
        self._whole = len(self.channel_pieces) == len(self.image_pieces) == 1

    def forward(self, tensors: Tensors, kept: Tensor) -> Tensor:
        """Return the output, and write the spectra of the input into ``kept`` if it has room."""
        input, *_, bias = tensors
        output = torch.empty(self.output_shape, dtype=input.dtype, device=input.device, memory_format=layout(input))
        sources, targets = self._by_groups(input, 1), self._by_groups(output, 1)
        for channels in self.channel_pieces:
            filters = self._filters(tensors, channels, sigma_needed=False)
            constant = None if bias is None else self._channels(bias, channels)
            for images, tiles in self.image_pieces:
                source = self._analyse_input(self._piece(sources, images), tiles, self._kept(kept, images), known=False)
                target = self.outside.synthesise(self._piece(targets, images, channels), tiles, False, add=False)
                for columns in self._blocks(channels, images, tiles):
                    w, s = filters.spectra(columns), source.spectra(columns)
                    target.put(columns, self._product(s, w.mT, "product", None if columns.start else constant))
                target.finish()
        return output

    def backward(self, tensors: Tensors, grad: Tensor, needed: Sequence[bool], kept: Tensor) -> list[Tensor | None]:
        """Return gradients of input, weight, displacement, sigma and bias; None for one that is not ``needed``.

        ``kept`` are the spectra that the forward pass wrote, if there are any.
        """
        if not self.n:
            pairs = zip(tensors, needed, strict=True)
            return [torch.zeros_like(t) if need and t is not None else None for t, need in pairs]
        units_needed = any(needed[1:4])
        add = len(self.channel_pieces) > 1 or not self.y.whole or not self.x.whole
        d_input = self._room_for_input(tensors.input, add) if needed[0] else tensors.input
        inputs, outputs, targets = (self._by_groups(t, 1) for t in (tensors.input, grad, d_input))
        unit_parts: list[list[Tensor]] = []
        bias_parts: list[Tensor] = []
        for channels in self.channel_pieces:
            filters = self._filters(tensors, channels, sigma_needed=needed[3])
            bias_sums: list[Tensor] = []
            for images, tiles in self.image_pieces:
                output = self.outside.analyse(self._piece(outputs, images, channels), tiles, True, "output")
                if units_needed:
                    input = self._analyse_input(
                        self._piece(inputs, images), tiles, self._kept(kept, images), known=True
                    )
                if needed[0]:
                    target = self.inside.synthesise(self._piece(targets, images), tiles, True, add)
                for columns in self._blocks(channels, images, tiles):
                    g = output.spectra(columns)
                    if needed[0]:
                        target.put(columns, self._product(g, filters.spectra(columns), "product"))
                    if units_needed:
                        products = self._product(g.mT, input.spectra(columns), "filter gradient")
                        filters.add_gradient(columns, products)
                    if needed[4] and columns.start == 0:
                        bias_sums.append(self.scale * g[0, 0].sum(1, dtype=self._dtype()))
                if needed[0]:
                    target.finish()
            if units_needed:
                unit_parts.append(filters.gradients())
            if needed[4]:
                bias_parts.append(functools.reduce(torch.add, bias_sums))
        parts = *(zip(*unit_parts, strict=True) if units_needed else [()] * 3), bias_parts
        others = zip(parts, tensors[1:], needed[1:], strict=True)
        return [
            d_input.to(tensors.input.dtype) if needed[0] else None,
            *(_joined(part, t) if need and t is not None else None for part, t, need in others),
        ]

    def _axes(self, axes: tuple[tuple[int, int, int], ...]) -> tuple[Axis, Axis]:
        """Cut both axes, each given as (size, stride, padding), into tiles."""
        profile = self.layer.profile
        return plan(self.n, self.groups, self.i, self.o, self.k, axes, profile.first, profile.last)

    def _dtype(self) -> torch.dtype:
        """Return the type of the computation."""
        return torch.promote_types(self.layer.dtype, torch.float32)

    def _room_for_input(self, input: Tensor, add: bool) -> Tensor:
        """Allocate the gradient of the input, as zeros in the type of the computation if tiles are added to it."""
        if add:
            return torch.zeros_like(input, dtype=self._dtype(), memory_format=layout(input))
        return torch.empty_like(input, memory_format=layout(input))

    def _by_groups(self, tensor: Tensor, axis: int) -> Tensor:
        """Return a view with the channels of ``axis`` as (groups, channels of a group)."""
        return tensor.unflatten(axis, (self.groups, -1)) if self.groups > 1 else tensor.unsqueeze(axis)

    def _side(self, ys: Tiles, xs: Tiles, pixels: Sequence[int]) -> Any:
        """Return a side in PyTorch; the Triton task overrides it, and the filters below, with the same methods."""
        return Side(ys, xs, self.lengths, torch.empty(0, dtype=self._dtype(), device=self.layer.device))

    def _piece(self, tensor: Tensor, images: slice, channels: slice = slice(None)) -> Tensor:
        """Return images and channels of a group of a tensor (N, G, C, ...), or all of it if there is one piece."""
        return tensor if self._whole else tensor[images, :, channels]

    def _kept(self, kept: Tensor, images: slice) -> Tensor:
        """Return the kept spectra of some images."""
        return kept[images] if kept.numel() and not self._whole else kept

    def _analyse_input(self, inputs: Tensor, tiles: slice, kept: Tensor, known: bool) -> Any:
        return self.inside.analyse(inputs, tiles, False, "input")

    def _product(self, a: Tensor, b: Tensor, name: str, bias: Tensor | None = None) -> Tensor:
        return product(a, b, name, bias, self.scale)

    def _units(self, tensors: Tensors, channels: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return weight, displacement and sigma of some output channels of each group."""
        weight, displacement, sigma = tensors[1:4]
        weight, displacement = (self._channels(t, channels) for t in (weight, displacement))
        return weight, displacement, self._channels(sigma, channels) if sigma.ndim else sigma

    def _channels(self, tensor: Tensor, channels: slice) -> Tensor:
        """Return some output channels of each group of a tensor (O, ...)."""
        tensor = self._by_groups(tensor, 0)
        return tensor if self._whole else tensor[:, channels]

    def _filters(self, tensors: Tensors, channels: slice, sigma_needed: bool) -> Any:
        return Filters(self.layer.profile, self.lengths, *self._units(tensors, channels), sigma_needed)

    def _channel_pieces(self) -> list[slice]:
        """Return slices of a group's output channels whose units' spectra fit into the workspace."""
        numbers = self.k * (2 * (bases.columns(self.y.length) + self.columns) + self.layer.profile.size)
        numbers += 4 * self.y.length
        return slices(self.o, UNIT_WORKSPACE // (numbers * self.groups * self.i * self._dtype().itemsize))

    def _image_pieces(self) -> list[tuple[slice, slice]]:
        """Return slices of images and of rows of tiles to process at a time."""
        rows = self._rows()
        images = slices(self.n, rows // self.y.inputs.count)
        return list(itertools.product(images, slices(self.y.inputs.count, rows)))

    def _rows(self) -> int:
        """Return how many rows of half-transformed tiles fit into the workspace."""
        size = max(self.y.inputs.size, self.y.outputs.size)
        numbers = (2 * self.columns * size + 3 * self.y.length) * (self.i + self.o) * self.groups
        return IMAGE_WORKSPACE // (numbers * self.x.inputs.count * self._dtype().itemsize)

    def _blocks(self, channels: slice, images: slice, tiles: slice) -> list[slice]:
        """Return slices of the columns to process at a time."""
        count = (images.stop - images.start) * (tiles.stop - tiles.start) * self.x.inputs.count
        o = channels.stop - channels.start
        numbers = max(o * self.i, count * max(o, self.i)) * self.groups
        return slices(self.columns, BLOCK // (2 * self.y.length * numbers))


def _joined(pieces: Sequence[Tensor], tensor: Tensor) -> Tensor:
    """Join gradients of pieces of the output channels of each group to the gradient of a tensor."""
    whole = pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), 1)
    whole = whole if tensor.ndim else whole.sum()
    return whole.reshape(tensor.shape).to(tensor.dtype).contiguous()


def slices(total: int, size: int) -> list[slice]:
    """Return the range 0..total in slices of about ``size`` or less, at least 1; multiples of 16 are fast."""
    each = -(-total // -(-total // max(size, 1))) if total else 1
    if 16 < each < total:
        each += -each % 16
    return [slice(start, min(start + each, total)) for start in range(0, total, each)]
