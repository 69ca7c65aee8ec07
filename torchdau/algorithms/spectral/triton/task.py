"""One call of the spectral algorithm by the Triton kernels: the differences from PyTorch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torchdau.algorithms.layer import Layer, output_size
from torchdau.algorithms.spectral import task, triton
from torchdau.algorithms.spectral.tiling import Axis, Tiles, cut, whole_length
from torchdau.algorithms.spectral.triton.filters import Filters
from torchdau.algorithms.spectral.triton.products import product
from torchdau.algorithms.spectral.triton.transforms import Analysis, Kept, Side

FILTERS = 512 << 20
"""Most bytes of spectra of filters. If they need more, the output channels are computed in pieces."""

SPECTRA = 256 << 20
"""Most bytes of spectra of images, beside 4 times the input and output. If they need more, images go in pieces."""


class Task(task.Task):
    """A layer by the Triton kernels; see :class:`torchdau.algorithms.spectral.task.Task`.

    All columns are processed at once. Spectra of bfloat16 keep that type. Others are float32, and their products have
    the precision "tf32" or "tf32x3".

    Args:
        layer: layer to compute.
        tf32: whether products of float32 may be made in TF32.
    """

    def __init__(self, layer: Layer, tf32: bool) -> None:
        self._precision = "tf32" if tf32 or layer.dtype != torch.float32 else "tf32x3"
        self._spectra_dtype = triton.spectra_dtype(layer.dtype)
        super().__init__(layer)
        self.kept = triton.kept_spectra(layer)

    def _axes(self, axes: tuple[tuple[int, int, int], ...]) -> tuple[Axis, Axis]:
        y, x = (self._axis(*axis) for axis in axes)
        return y, x

    def _axis(self, size: int, stride: int, padding: int) -> Axis:
        """Cut an axis into as few tiles as possible."""
        profile = self.layer.profile
        options = size, output_size(size, stride, padding), stride, padding, profile.first, profile.last
        if whole_length(*options) <= triton.LONGEST:
            return cut(1, *options)
        longest = triton.TILE if 16 * stride + profile.size <= triton.TILE else triton.LONGEST
        return cut(max(2, -(-options[1] // ((longest - profile.size) // stride + 1))), *options)

    def _side(self, ys: Tiles, xs: Tiles, pixels: Sequence[int]) -> Side:
        return Side(ys, xs, pixels, self.lengths, self._spectra_dtype, self.layer.device, self._precision)

    def _analyse_input(self, inputs: Tensor, tiles: slice, kept: Tensor, known: bool) -> Kept:
        if not kept.numel():
            return Analysis(self.inside, inputs, tiles, False)
        kept = self._by_groups(kept, 3)
        return Kept(kept) if known else Analysis(self.inside, inputs, tiles, False, kept)

    def _product(self, a: Tensor, b: Tensor, name: str, bias: Tensor | None = None) -> Tensor:
        return product(a, b, self._precision, bias, self.scale)

    def _filters(self, tensors: task.Tensors, channels: slice, sigma_needed: bool) -> Filters:
        units = self._units(tensors, channels)
        kind = self._spectra_dtype, self._precision
        return Filters(self.layer.profile, self.lengths, *units, sigma_needed, *kind)

    def _channel_pieces(self) -> list[slice]:
        if self.groups > 1:  # parts of the channels of several groups are not contiguous
            return [slice(0, self.o)]
        each = 2 * self.columns * self.y.length * self.i * self._spectra_dtype.itemsize
        return task.slices(self.o, FILTERS // each)

    def _rows(self) -> int:
        images = math.prod(self.layer.input) + math.prod(self.output_shape)
        numbers = 2 * self.columns * self.y.length * (self.i + self.o) * self.groups
        row = numbers * self.x.inputs.count * self._spectra_dtype.itemsize
        return (SPECTRA + 4 * images * self.layer.dtype.itemsize) // row

    def _blocks(self, channels: slice, images: slice, tiles: slice) -> list[slice]:
        return [slice(0, self.columns)]
