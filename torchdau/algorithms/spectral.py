"""Units as products of 1-D spectra: one matrix product over channels per frequency; knows nothing of other algorithms.

docs/algorithms.md derives what stands here. Images are cut into tiles (one, where a small image is cheapest whole), a
tile goes to frequencies by constant matrix products, the spectrum of a filter is built from the 1-D spectra of its
units, and the product of the two goes back. One column of frequencies is worked through at a time; images, rows of
tiles and output channels are taken in pieces, so memory is bounded.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from functools import lru_cache

import torch
from torch import Tensor

from torchdau.algorithms.tiling import Axis, cut, gather, output_size, scatter
from torchdau.algorithms.transform import FilterSpectra, Frequencies, ImageTransform
from torchdau.algorithms.workspace import workspace
from torchdau.profile import Profile

IMAGE_WORKSPACE = 256 << 20
"""Bytes that half-transformed tiles may take; more are worked through in pieces of images and rows of tiles."""

UNIT_WORKSPACE = 96 << 20
"""Bytes that spectra of filters may take; more are worked through in pieces of output channels."""


def dau_conv2d(
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
    profile: Profile,
) -> Tensor:
    """The operator of docs/operator.md; see :mod:`torchdau.algorithms` for the arguments."""
    output: Tensor = _spectral(input, weight, displacement, sigma, stride, padding, groups, *astuple(profile))
    return output if bias is None else output.add_(bias[:, None, None])


@torch.library.custom_op("torchdau::spectral", mutates_args=())
def _spectral(
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    interpolation: str,
    displacement_gradient: str,
    max_displacement: float,
    max_sigma: float,
) -> Tensor:
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    with torch.autocast(input.device.type, enabled=False):
        return _Task(input, weight, displacement, sigma, stride, padding, groups, profile).forward()


@torch.library.custom_op("torchdau::spectral_backward", mutates_args=())
def _spectral_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    interpolation: str,
    displacement_gradient: str,
    max_displacement: float,
    max_sigma: float,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, weight, displacement and sigma; one that is not ``needed`` is an empty tensor."""
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    with torch.autocast(input.device.type, enabled=False):
        return _Task(input, weight, displacement, sigma, stride, padding, groups, profile).backward(grad, needed)


@_spectral.register_fake
def _(input, weight, displacement, sigma, stride, padding, *options):  # type: ignore[no-untyped-def]
    n, _, *size = input.shape
    axes = zip(size, stride, padding, strict=True)
    return input.new_empty(n, weight.shape[0], *(output_size(*axis) for axis in axes))


@_spectral_backward.register_fake
def _(grad, input, weight, displacement, sigma, *options):  # type: ignore[no-untyped-def]
    return tuple(_grads((input, weight, displacement, sigma), options[-1]))


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:4])
    ctx.options = inputs[4:]


def _autograd(ctx, grad):  # type: ignore[no-untyped-def]
    needed = list(ctx.needs_input_grad[:4])
    grads = _spectral_backward(grad, *ctx.saved_tensors, *ctx.options, needed)
    return *(g if need else None for g, need in zip(grads, needed, strict=True)), *[None] * len(ctx.options)


def _no_second_derivative(ctx, *grads):  # type: ignore[no-untyped-def]
    raise NotImplementedError(
        'algorithm must be "dense" or "reference" for the gradient of a gradient, got algorithm="spectral". '
        'Pass algorithm="dense" to the layer or function that is differentiated twice.'
    )


_spectral.register_autograd(_autograd, setup_context=_setup_context)
_spectral_backward.register_autograd(_no_second_derivative)


class _Task:
    """One call: its tensors by groups, how it is cut, and the two passes over the pieces.

    Shapes: input (N, G, I, H, W), weight (G, O, I, K); a piece of the output channels has P = G * O * I pairs.
    """

    def __init__(
        self,
        input: Tensor,
        weight: Tensor,
        displacement: Tensor,
        sigma: Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        groups: int,
        profile: Profile,
    ) -> None:
        self.dtype = torch.promote_types(input.dtype, torch.float32)
        self.profile = profile
        self.groups = groups
        self.tensors = input, weight, displacement, sigma
        self.input = self._by_groups(input, 1)
        self.weight = self._by_groups(weight, 0)
        self.displacement = self._by_groups(displacement, 0)
        self.sigma = self._by_groups(sigma, 0) if sigma.ndim else sigma
        self.n, _, self.i, *size = self.input.shape
        _, self.o, _, self.k = self.weight.shape
        axes = tuple(zip(size, stride, padding, strict=True))
        self.output_size = [output_size(*axis) for axis in axes]
        self.y, self.x = _plan(self.n, groups, self.i, self.o, self.k, axes, profile.first, profile.last)
        f = self.frequencies = Frequencies(self.y.length, self.x.length)
        self.like = like = torch.empty(0, dtype=self.dtype, device=input.device)
        self.inside = ImageTransform(f, range(self.y.inputs.size), range(self.x.inputs.size), False, like)
        self.outside = ImageTransform(f, self.y.positions, self.x.positions, True, like)

    def forward(self) -> Tensor:
        output = self.input.new_empty(self.n, self.groups * self.o, *self.output_size)
        channel_pieces = self._channel_pieces()
        keep = len(channel_pieces) > 1
        for images, rows in self._image_pieces(keep):
            tiles = gather(self.input[images].to(self.dtype), self.y.inputs.part(rows), self.x.inputs)
            spectra = self._spectra(self.inside, tiles, self.i, keep)
            for channels in channel_pieces:
                filters = FilterSpectra(self.frequencies, self.profile, *self._units(channels))
                target = self._by_groups(output, 1)[images, :, channels]
                half = self._half(len(tiles) // self.i * target.shape[2], self.y.outputs.size)
                for column in range(self.frequencies.columns):
                    w = self._matrices(filters.parts(column), self.i)
                    self.outside.put(half, column, _product(spectra(column), w.mT, "product"))
                scatter(self.outside.finish(half), target, self.y.outputs.part(rows), self.x.outputs)
        return output

    def backward(self, grad: Tensor, needed: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        grad = self._by_groups(grad, 1)
        totals = [
            torch.zeros_like(total, dtype=torch.promote_types(total.dtype, torch.float32))
            for total in _grads(self.tensors, needed)
        ]
        grad_input, *grad_units = (
            self._by_groups(total, 0 if number else 1) if need and total.ndim else total
            for number, (total, need) in enumerate(zip(totals, needed, strict=True))
        )
        channel_pieces = self._channel_pieces()
        keep = len(channel_pieces) > 1
        for images, rows in self._image_pieces(keep):
            tiles = gather(self.input[images].to(self.dtype), self.y.inputs.part(rows), self.x.inputs)
            spectra = self._spectra(self.inside, tiles, self.i, keep)
            half = self._half(len(tiles), self.y.inputs.size)
            products: dict[int, Tensor] = {}  # by column, summed over the output channels
            for channels in channel_pieces:
                filters = FilterSpectra(self.frequencies, self.profile, *self._units(channels))
                source = grad[images, :, channels].to(self.dtype)
                tiles = gather(source, self.y.outputs.part(rows), self.x.outputs)
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
        image, w, mu, sigma = (total.to(t.dtype) for total, t in zip(totals, self.tensors, strict=True))
        return image, w, mu, sigma

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
        """Room for half-transformed tiles (columns, re and im, channels of all tiles, rows of pixels)."""
        return workspace("out half", (self.frequencies.columns, 2, channels, size), self.like)

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
        numbers = 2 * self.k * (f.half + f.columns + self.profile.size) + 4 * f.half + 3 * f.height
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


@lru_cache(maxsize=256)
def _plan(
    n: int, groups: int, i: int, o: int, k: int, axes: tuple[tuple[int, int, int], ...], first: int, last: int
) -> tuple[Axis, Axis]:
    """The cheapest tiling of both axes, each of (size, stride, padding)."""
    options = []
    for size, stride, padding in axes:
        outputs = output_size(size, stride, padding)
        counts = range(1, max(1, outputs // 8) + 1)
        options.append(dict.fromkeys(cut(count, size, outputs, stride, padding, first, last) for count in counts))
    return min(itertools.product(*options), key=lambda pair: _cost(n, groups, i, o, k, *pair))  # type: ignore[return-value]


def _cost(n: int, groups: int, i: int, o: int, k: int, y: Axis, x: Axis) -> float:
    """Multiply-adds of a forward pass; what runs slower than a large matrix product counts by its time."""
    tiles = n * y.inputs.count * x.inputs.count
    columns = x.length // 2 + 1
    numbers = columns * y.length
    image = 0.0
    for channels, height, width in ((i, y.inputs.size, x.inputs.size), (o, y.outputs.size, x.outputs.size)):
        products = 2 * columns * height * (width + y.length)
        copies = height * width if y.inputs.count * x.inputs.count > 1 else 0
        image += channels * (1.5 * products + 45 * numbers + 75 * copies)
    return groups * (tiles * (3 * numbers * i * o + image) + 15 * numbers * i * o * (2 * k + 4))


def _grads(tensors: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    """Room for a gradient of each tensor, empty for those that are not needed."""
    return [torch.empty_like(t) if need else t.new_empty(0) for t, need in zip(tensors, needed, strict=True)]


def _product(a: Tensor, b: Tensor, name: str) -> Tensor:
    """``a @ b`` in the workspace of this name."""
    return torch.bmm(a, b, out=workspace(name, (len(a), a.shape[1], b.shape[2]), a))


def _slices(total: int, size: int) -> list[slice]:
    """The range 0..total in slices of about ``size`` or less, at least 1; multiples of 16 are fast."""
    each = -(-total // -(-total // max(size, 1))) if total else 1
    if 16 < each < total:
        each += -each % 16
    return [slice(start, min(start + each, total)) for start in range(0, total, each)]


def cost(
    n: int, groups: int, i: int, o: int, k: int, size: tuple[int, int], stride: tuple[int, int], window: int
) -> float:
    """Multiply-adds of a forward pass, estimated without planning it; what runs slower counts by its time."""
    pixels_in = [pixels * s for pixels, s in zip(size, stride, strict=True)]
    lengths = [min(pixels, max(26, window)) + window for pixels in pixels_in]
    tiles = n
    for pixels, length in zip(pixels_in, lengths, strict=True):
        tiles = tiles * (-(-pixels // (length - window)))
    numbers = lengths[0] * (lengths[1] // 2 + 1)
    product = 3 * max(i, 8) * max(o, 8)
    image = (i + o) * (12 * max(lengths) + 180)
    return groups * numbers * (tiles * (product + image) + 15 * i * o * (2 * k + 4)) + 2e8
