"""One call of the spectral algorithm: how it is taken in pieces, and the forward and backward pass over them."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from torchdau.algorithms.spectral.filters import FilterSpectra
from torchdau.algorithms.spectral.frequencies import Frequencies
from torchdau.algorithms.spectral.images import ImageTransform
from torchdau.algorithms.spectral.planning import plan
from torchdau.algorithms.spectral.tiling import gather, output_size, scatter
from torchdau.profile import Profile
from torchdau.workspace import workspace

IMAGE_WORKSPACE = 256 << 20
"""Bytes that half-transformed tiles may take; more are worked through in pieces of images and rows of tiles."""

UNIT_WORKSPACE = 128 << 20
"""Bytes that spectra of filters may take; more are worked through in pieces of output channels."""


class Task:
    """One call: its tensors by groups, how it is cut, and the two passes over the pieces.

    Shapes: input (N, G, I, H, W), weight (G, O, I, K); a piece of the output channels has P = G * O * I pairs.
    """

    def __init__(
        self,
        input: Tensor,
        weight: Tensor,
        displacement: Tensor,
        sigma: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        groups: int,
        profile: Profile,
    ) -> None:
        self.dtype = torch.promote_types(input.dtype, torch.float32)
        self.profile = profile
        self.groups = groups
        self.tensors = input, weight, displacement, sigma, bias
        self.input = self._by_groups(input, 1)
        self.weight = self._by_groups(weight, 0)
        self.displacement = self._by_groups(displacement, 0)
        self.sigma = self._by_groups(sigma, 0) if sigma.ndim else sigma
        self.n, _, self.i, *size = self.input.shape
        _, self.o, _, self.k = self.weight.shape
        axes = tuple(zip(size, stride, padding, strict=True))
        self.output_size = [output_size(*axis) for axis in axes]
        self.y, self.x = plan(self.n, groups, self.i, self.o, self.k, axes, profile.first, profile.last)
        f = self.frequencies = Frequencies(self.y.length, self.x.length)
        self.like = like = torch.empty(0, dtype=self.dtype, device=input.device)
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
                filters = FilterSpectra(self.frequencies, self.profile, *self._units(channels))
                target = self._by_groups(output, 1)[images, :, channels]
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
        grad = self._by_groups(grad, 1)
        tensors, needed = self.tensors[:4], needed[:4]
        totals = [
            torch.zeros_like(total, dtype=torch.promote_types(total.dtype, torch.float32))
            for total in room_for_gradients(tensors, needed)
        ]
        grad_input, *grad_units = (
            self._by_groups(total, 0 if number else 1) if need and total.ndim else total
            for number, (total, need) in enumerate(zip(totals, needed, strict=True))
        )
        channel_pieces = self._channel_pieces()
        keep = len(channel_pieces) > 1
        for images, rows in self._image_pieces(keep):
            tiles = gather(self.input[images], self.y.inputs.part(rows), self.x.inputs, self.like)
            spectra = self._spectra(self.inside, tiles, self.i, keep)
            half = self._half(tiles.shape[1], self.y.inputs.size)
            products: dict[int, Tensor] = {}  # by column, summed over the output channels
            for channels in channel_pieces:
                filters = FilterSpectra(self.frequencies, self.profile, *self._units(channels))
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
                    self._add_unit_gradients(grad_units, filters.gradients(needed[3]), channels)
            if needed[0]:
                scatter(self.inside.finish(half), grad_input[images], self.y.inputs.part(rows), self.x.inputs)
        image, w, mu, sigma = (total.to(t.dtype) for total, t in zip(totals, tensors, strict=True))
        return image, w, mu, sigma, grad_bias

    def _by_groups(self, tensor: Tensor, axis: int) -> Tensor:
        """A view with the channels of ``axis`` as (groups, channels of a group)."""
        return tensor.unflatten(axis, (self.groups, -1))

    def _units(self, channels: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Weight (K, P), displacement (2, K, P) and sigma, (K, P) or a scalar, of some output channels."""
        weight = self.weight[:, channels].permute(3, 0, 1, 2).flatten(1)
        displacement = self.displacement[:, channels].permute(4, 3, 0, 1, 2).flatten(2)
        sigma = self.sigma[:, channels].permute(3, 0, 1, 2).flatten(1) if self.sigma.ndim else self.sigma
        return weight.to(self.dtype), displacement, sigma

    def _add_unit_gradients(self, totals: Sequence[Tensor], grads: Sequence[Tensor], channels: slice) -> None:
        """Adds gradients in the shapes of :meth:`_units`; a total that nobody needs is empty."""
        for total, grad in zip(totals, grads, strict=True):
            if total.ndim == 0:
                total += grad.sum()
            elif total.numel():
                target = total[:, channels]
                lead = grad.ndim - 1
                order = *range(lead, lead + 3), *reversed(range(lead))
                target += grad.unflatten(-1, target.shape[:3]).permute(order)

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
        return _slices(self.o, UNIT_WORKSPACE // (numbers * self.groups * self.i * self.dtype.itemsize))

    def _image_pieces(self, keep: bool) -> Iterator[tuple[slice, slice]]:
        """Slices of images and of rows of tiles whose half-transformed tiles, and kept spectra, fit."""
        f = self.frequencies
        size = max(self.y.inputs.size, self.y.outputs.size)
        numbers = 2 * f.columns * size * (self.i + self.o) + 3 * f.height * self.i * (2 * f.columns if keep else 1)
        rows = IMAGE_WORKSPACE // (numbers * self.groups * self.x.inputs.count * self.dtype.itemsize)
        for images in _slices(self.n, rows // self.y.inputs.count):
            for part in _slices(self.y.inputs.count, rows):
                yield images, part


def room_for_gradients(tensors: Sequence[Tensor | None], needed: Sequence[bool]) -> list[Tensor]:
    """Room for a gradient of each tensor, empty for those that are not needed; the first tensor is there."""
    first = tensors[0]
    assert first is not None
    return [
        torch.empty_like(t, memory_format=torch.contiguous_format) if need and t is not None else first.new_empty(0)
        for t, need in zip(tensors, needed, strict=True)
    ]


def _product(a: Tensor, b: Tensor, name: str) -> Tensor:
    """``a @ b`` in the workspace of this name."""
    return torch.bmm(a, b, out=workspace(name, (len(a), a.shape[1], b.shape[2]), a))


def _slices(total: int, size: int) -> list[slice]:
    """The range 0..total in slices of about ``size`` or less, at least 1; multiples of 16 are fast."""
    each = -(-total // -(-total // max(size, 1))) if total else 1
    if 16 < each < total:
        each += -each % 16
    return [slice(start, min(start + each, total)) for start in range(0, total, each)]
