"""One call of the spectral algorithm: how it is taken in pieces, and the forward and backward pass over them."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdau.algorithms.spectral import bases
from torchdau.algorithms.spectral.filters import Filters
from torchdau.algorithms.spectral.planning import plan
from torchdau.algorithms.spectral.products import product
from torchdau.algorithms.spectral.tiling import Axis, Tiles, output_size
from torchdau.algorithms.spectral.transforms import Side
from torchdau.profile import Profile

IMAGE_WORKSPACE = 256 << 20
"""Bytes that half-transformed tiles may take; more are worked through in pieces of images and rows of tiles."""

UNIT_WORKSPACE = 128 << 20
"""Bytes that spectra of units may take; more are worked through in pieces of output channels."""

BLOCK = 1 << 18
"""Numbers of the spectra that are made at a time: few enough for the cache, many enough for a matrix product."""


class Layer(NamedTuple):
    """The arguments of one call; see :mod:`torchdau.algorithms`."""

    input: Tensor
    weight: Tensor
    displacement: Tensor
    sigma: Tensor
    bias: Tensor | None
    stride: Sequence[int]
    padding: Sequence[int]
    groups: int
    profile: Profile


class Task:
    """One call in PyTorch: its tensors by groups, how it is cut, and the two passes over the pieces.

    A tile of the output is the synthesis of the product of the analysis of a tile of the input with the spectra of
    the filters. The way back goes through conjugate spectra, so that the same filters serve: the gradient of the input
    is the synthesis of the product of the analysis of the output's gradient with them, and that of a filter's spectrum
    the product of the two analyses. A constant is one frequency, where the bias is added and its gradient read.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        input, weight, _, _, _, stride, padding, groups, _ = layer
        self.n, channels, *size = input.shape
        self.groups, self.i, self.o, self.k = groups, channels // groups, len(weight) // groups, weight.shape[2]
        axes = tuple(zip(size, stride, padding, strict=True))
        self.output_size = [output_size(*axis) for axis in axes]
        self.y, self.x = y, x = self._axes(axes)
        self.lengths = y.length, x.length
        self.columns = bases.columns(x.length)
        self.scale = math.sqrt(y.length * x.length)  # between a constant and its number among the frequencies
        self.like = torch.empty(0, dtype=self._spectra_dtype(), device=input.device)
        self.inside, self.outside = self._side(y.inputs, x.inputs), self._side(y.outputs, x.outputs)

    def forward(self) -> Tensor:
        """The output."""
        input, *_, bias = self.layer[:5]
        shape = self.n, len(self.layer.weight), *self.output_size
        output = torch.empty(shape, dtype=input.dtype, device=input.device, memory_format=layout(input))
        sources, targets = self._by_groups(input, 1), self._by_groups(output, 1)
        for channels in self._channel_pieces():
            filters = self._filters(channels, sigma_needed=False)
            constant = None if bias is None else self._by_groups(bias, 0)[:, channels]
            for images, tiles in self._image_pieces():
                source = self._analyse_input(sources, images, tiles)
                target = self.outside.synthesise(targets[images, :, channels], tiles, False, add=False)
                for columns in self._blocks(channels, images, tiles):
                    w, s = filters.spectra(columns), source.spectra(columns)
                    target.put(columns, self._product(s, w.mT, "product", None if columns.start else constant))
                target.finish()
        return output

    def backward(self, grad: Tensor, needed: Sequence[bool]) -> list[Tensor | None]:
        """Gradients of input, weight, displacement, sigma and bias; None for one that is not ``needed``."""
        if not self.n:
            tensors = zip(self.layer[:5], needed, strict=True)
            return [torch.zeros_like(t) if need and t is not None else None for t, need in tensors]
        units_needed, pieces = any(needed[1:4]), self._channel_pieces()
        add = len(pieces) > 1 or not self.y.whole or not self.x.whole
        d_input = self._room_for_input(add) if needed[0] else self.layer.input
        inputs, outputs, targets = (self._by_groups(t, 1) for t in (self.layer.input, grad, d_input))
        unit_parts: list[list[Tensor]] = []
        bias_parts: list[Tensor] = []
        for channels in pieces:
            filters = self._filters(channels, sigma_needed=needed[3])
            bias_sums: list[Tensor] = []
            for images, tiles in self._image_pieces():
                output = self.outside.analyse(outputs[images, :, channels], tiles, True, "output")
                if units_needed:
                    input = self._analyse_input(inputs, images, tiles)
                if needed[0]:
                    target = self.inside.synthesise(targets[images], tiles, True, add)
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
        others = zip(parts, self.layer[1:5], needed[1:], strict=True)
        return [
            d_input.to(self.layer.input.dtype) if needed[0] else None,
            *(_joined(part, t) if need and t is not None else None for part, t, need in others),
        ]

    def _axes(self, axes: tuple[tuple[int, int, int], ...]) -> tuple[Axis, Axis]:
        """Cut both axes, each given as (size, stride, padding), into tiles."""
        profile = self.layer.profile
        return plan(self.n, self.groups, self.i, self.o, self.k, axes, profile.first, profile.last)

    def _dtype(self) -> torch.dtype:
        """The type of the computation."""
        return torch.promote_types(self.layer.input.dtype, torch.float32)

    def _spectra_dtype(self) -> torch.dtype:
        """The type of the spectra."""
        return self._dtype()

    def _room_for_input(self, add: bool) -> Tensor:
        """Allocate the gradient of the input, as zeros in the type of the computation if tiles are added to it."""
        input = self.layer.input
        if add:
            return torch.zeros_like(input, dtype=self._dtype(), memory_format=layout(input))
        return torch.empty_like(input, memory_format=layout(input))

    def _by_groups(self, tensor: Tensor, axis: int) -> Tensor:
        """A view with the channels of ``axis`` as (groups, channels of a group)."""
        return tensor.unflatten(axis, (self.groups, -1))

    def _side(self, ys: Tiles, xs: Tiles) -> Any:
        """Return a side in PyTorch. The Triton task returns its own, with the same methods; likewise filters below."""
        return Side(ys, xs, self.lengths, self.like)

    def _analyse_input(self, inputs: Tensor, images: slice, tiles: slice) -> Any:
        return self.inside.analyse(inputs[images], tiles, False, "input")

    def _product(self, a: Tensor, b: Tensor, name: str, bias: Tensor | None = None) -> Tensor:
        return product(a, b, name, bias, self.scale)

    def _units(self, channels: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Weight, displacement and sigma of some output channels of each group."""
        weight, displacement, sigma = self.layer[1:4]
        weight, displacement = (self._by_groups(t, 0)[:, channels] for t in (weight, displacement))
        return weight, displacement, self._by_groups(sigma, 0)[:, channels] if sigma.ndim else sigma

    def _filters(self, channels: slice, sigma_needed: bool) -> Any:
        return Filters(self.layer.profile, self.lengths, *self._units(channels), sigma_needed)

    def _channel_pieces(self) -> list[slice]:
        """Slices of a group's output channels whose units' spectra fit into the workspace."""
        numbers = self.k * (2 * (bases.columns(self.y.length) + self.columns) + self.layer.profile.size)
        numbers += 4 * self.y.length
        return slices(self.o, UNIT_WORKSPACE // (numbers * self.groups * self.i * self._dtype().itemsize))

    def _image_pieces(self) -> list[tuple[slice, slice]]:
        """Slices of images and of rows of tiles that are worked through at a time."""
        rows = self._rows()
        images = slices(self.n, rows // self.y.inputs.count)
        return list(itertools.product(images, slices(self.y.inputs.count, rows)))

    def _rows(self) -> int:
        """Return how many rows of half-transformed tiles fit into the workspace."""
        size = max(self.y.inputs.size, self.y.outputs.size)
        numbers = (2 * self.columns * size + 3 * self.y.length) * (self.i + self.o) * self.groups
        return IMAGE_WORKSPACE // (numbers * self.x.inputs.count * self._dtype().itemsize)

    def _blocks(self, channels: slice, images: slice, tiles: slice) -> list[slice]:
        """Slices of the columns that are worked through at a time."""
        count = (images.stop - images.start) * (tiles.stop - tiles.start) * self.x.inputs.count
        o = channels.stop - channels.start
        numbers = max(o * self.i, count * max(o, self.i)) * self.groups
        return slices(self.columns, BLOCK // (2 * self.y.length * numbers))


def layout(images: Tensor) -> torch.memory_format:
    """Return the memory format of images (N, C, H, W), which results computed from them also have."""
    last = images.stride(1) == 1 and images.shape[1] > 1 and images.shape[2] * images.shape[3] > 1
    return torch.channels_last if last else torch.contiguous_format


def _joined(pieces: Sequence[Tensor], tensor: Tensor) -> Tensor:
    """The gradient of a tensor from those of pieces of the output channels of each group."""
    whole = pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), 1)
    whole = whole if tensor.ndim else whole.sum()
    return whole.reshape(tensor.shape).to(tensor.dtype).contiguous()


def slices(total: int, size: int) -> list[slice]:
    """The range 0..total in slices of about ``size`` or less, at least 1; multiples of 16 are fast."""
    each = -(-total // -(-total // max(size, 1))) if total else 1
    if 16 < each < total:
        each += -each % 16
    return [slice(start, min(start + each, total)) for start in range(0, total, each)]
