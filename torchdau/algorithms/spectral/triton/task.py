"""One call of the spectral algorithm by the Triton kernels: what differs from PyTorch's."""

import torch
from torch import Tensor

from torchdau.algorithms.spectral import task, triton
from torchdau.algorithms.spectral.tiling import Axis, Tiles, cut, output_size, whole_length
from torchdau.algorithms.spectral.triton.filters import Filters
from torchdau.algorithms.spectral.triton.products import product
from torchdau.algorithms.spectral.triton.transforms import Analysis, Kept, Side

FILTERS = 512 << 20
"""Bytes that spectra of filters may take. If they need more, the output channels are computed in pieces."""

SPECTRA = 256 << 20
"""Bytes that spectra of images may take besides 4 times input and output. If they need more, images go in pieces."""


class Task(task.Task):
    """One call; see :class:`torchdau.algorithms.spectral.task.Task`.

    All columns are worked through at once. Spectra of bfloat16 are kept in that type, others in float32, whose products
    have the precision that PyTorch's convolutions have (``torch.backends.cudnn``).

    Args:
        layer: what is computed.
        kept: room for the spectra of the input, of which :func:`torchdau.algorithms.spectral.triton.kept_spectra` says
            the shape; or nothing.
        known: whether they are there already, from the forward pass.
    """

    def __init__(self, layer: task.Layer, kept: Tensor, known: bool) -> None:
        self._kept, self._known = kept, known
        dtype = layer.input.dtype
        exact = dtype == torch.float32 and torch.backends.cudnn.conv.fp32_precision != "tf32"  # type: ignore[attr-defined]
        self._precision = "tf32x3" if exact else "tf32"
        super().__init__(layer)

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

    def _spectra_dtype(self) -> torch.dtype:
        return triton.spectra_dtype(self.layer.input)

    def _side(self, ys: Tiles, xs: Tiles) -> Side:
        return Side(ys, xs, self.lengths, self.like, self._precision)

    def _analyse_input(self, inputs: Tensor, images: slice, tiles: slice) -> Kept:
        if not self._kept.numel():
            return Analysis(self.inside, inputs[images], tiles, False)
        kept = self._kept[images].unflatten(3, (self.groups, self.i))
        return Kept(kept) if self._known else Analysis(self.inside, inputs[images], tiles, False, kept)

    def _product(self, a: Tensor, b: Tensor, name: str, bias: Tensor | None = None) -> Tensor:
        return product(a, b, self._precision, bias, self.scale)

    def _filters(self, channels: slice, sigma_needed: bool) -> Filters:
        units = self._units(channels)
        return Filters(self.layer.profile, self.lengths, *units, sigma_needed, self.like, self._precision)

    def _channel_pieces(self) -> list[slice]:
        if self.groups > 1:  # a part of the channels of several groups is not contiguous
            return [slice(0, self.o)]
        each = 2 * self.columns * self.y.length * self.i * self.like.itemsize
        return task.slices(self.o, FILTERS // each)

    def _rows(self) -> int:
        input = self.layer.input
        images = input.numel() + self.n * self.groups * self.o * self.output_size[0] * self.output_size[1]
        numbers = 2 * self.columns * self.y.length * (self.i + self.o) * self.groups
        row = numbers * self.x.inputs.count * self.like.itemsize
        return (SPECTRA + 4 * images * input.itemsize) // row

    def _blocks(self, channels: slice, images: slice, tiles: slice) -> list[slice]:
        return [slice(0, self.columns)]
