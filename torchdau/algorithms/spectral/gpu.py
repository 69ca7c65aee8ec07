"""The spectral algorithm by the Triton kernels of ``kernels/gpu``: their arguments, and the loops over pieces."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from torchdau.algorithms.spectral.call import Call, Layer, slices
from torchdau.algorithms.spectral.planning import SPECTRA, narrow
from torchdau.algorithms.spectral.tiling import Tiles
from torchdau.kernels.gpu import available
from torchdau.profile import Profile

TABLES = 256 << 20
"""Bytes that tables of units may take; more are worked through in pieces of output channels."""

LONGEST = 128
"""Pixels of a transform up to which the kernels serve: lines of pixels stay in the registers of a program."""

UNITS = 16
"""Units of a filter up to which the kernels serve: gradients of units stay in the registers of a program."""

PROGRAMS = 1024
"""Programs that a launch should have at least, to fill any GPU."""


INSIDE, OUTSIDE = 0, 1
"""The sides of a layer: its input and the gradient of that, its output and the gradient of that."""


def fits(input: Tensor, weight: Tensor, stride: Sequence[int], profile: Profile) -> bool:
    """Whether the kernels are for such a layer: on an NVIDIA GPU of capability 8.0 or newer, float32 and half types."""
    if input.device.type != "cuda" or input.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    small = 16 * max(stride) + profile.size <= LONGEST and weight.shape[2] <= UNITS
    return small and not narrow(input, weight) and input.numel() > 0 and available(input.device)


class Task(Call):
    """One call of the kernels; see :class:`torchdau.algorithms.spectral.task.Task`.

    Spectra of bfloat16 are kept in that type, others in float32, whose products have the precision that PyTorch's
    convolutions have (``torch.backends.cudnn``). Where ``long``, a transform is longer than the kernels can make it.
    """

    longest = LONGEST

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        dtype = layer.input.dtype
        exact = dtype == torch.float32 and torch.backends.cudnn.conv.fp32_precision != "tf32"  # type: ignore[attr-defined]
        self.precision = "tf32x3" if exact else "tf32"
        # float16 would overflow: the mean of a tile is multiplied by its side
        self.spectra_dtype = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
        y, x = self.y, self.x
        self.long = max(y.length, x.length) > LONGEST
        self.whole = y.inputs.count * x.inputs.count == 1  # each pixel belongs to one tile, and is written once
        self.frequencies = (y.length // 2 + 1) * (x.length // 2 + 1)
        self._tables: tuple[object, list[Tensor]] = None, []
        self._known_waves: dict[tuple[range, int], Tensor] = {}

    def forward(self) -> Tensor:
        """The output."""
        input, bias = self.tensors[0], self.tensors[4]
        output = input.new_empty(self.n, self.groups * self.o, *self.output_size)
        with torch.cuda.device_of(input):
            for first, count in self._pieces(self.i + self.o):
                spectra = self._analyse(input, INSIDE, first, count)
                products = self._room(count, self.o)
                for channels in self._channel_pieces(forms=1):
                    self._product(spectra, products, channels, forward=True)
                del spectra
                self._synthesise(products, output, OUTSIDE, first, bias)
                del products
        return output

    def backward(self, grad: Tensor, needed: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Gradients of input, weight, displacement, sigma and bias; one that is not ``needed`` is empty."""
        input = self.tensors[0]
        grad_bias = grad.sum((0, 2, 3)) if needed[4] else grad.new_empty(0)
        totals = self.room([needed[0] and not self.whole, *needed[1:4]])
        if needed[0] and self.whole:
            totals[0] = torch.empty_like(input, memory_format=torch.contiguous_format)
        forms = 2 + needed[3] if any(needed[1:4]) else 1
        with torch.cuda.device_of(input):
            for first, count in self._pieces(2 * self.i + self.o) if any(needed[:4]) else ():
                grad_spectra = self._analyse(grad, OUTSIDE, first, count)
                spectra = self._analyse(input, INSIDE, first, count) if forms > 1 else None
                products = self._room(count, self.i) if needed[0] else None
                for channels in self._channel_pieces(forms):
                    if products is not None:
                        self._product(grad_spectra, products, channels, forward=False, forms=forms)
                    if spectra is not None:
                        grads = self._unit_gradients(grad_spectra, spectra, channels, forms)
                        self.add_unit_gradients(totals[1:], grads, channels)
                del grad_spectra, spectra
                if products is not None:
                    self._synthesise(products, totals[0], INSIDE, first, None)
                del products
        image, w, mu, sigma = self.cast(totals)
        return image, w, mu, sigma, grad_bias

    def _product(self, source: Tensor, target: Tensor, channels: slice, *, forward: bool, forms: int = 1) -> None:
        """Spectra ``source`` times the filters of some output channels; the way back adds up their products."""
        from torchdau.kernels.gpu.products import product

        weight, table_y, table_x = self._units(channels, forms)
        o = channels.stop - channels.start
        if forward:
            sources, targets, strides, target = self.i, o, (1, self.i), target[..., channels.start :]
        else:
            sources, targets, strides, source = o, self.i, (self.i, 1), source[..., channels.start :]
        tiles = source.shape[2]
        block = min(128, _block(tiles))
        product[-(-tiles // block) * -(-targets // 32) * self.frequencies * self.groups,](
            source, target, weight, table_y, table_x, tiles, self.y.length, self.x.length, self.k, weight.shape[1],
            sources, targets, source.stride(2), target.stride(2), self.i if forward else self.o,
            self.o if forward else self.i, *strides, -1 if forward else 1, ADD=not forward and channels.start > 0,
            PRECISION=self.precision, TILES=block, TARGETS=32, SOURCES=16, num_warps=8 if block > 64 else 4,
        )  # fmt: skip

    def _unit_gradients(self, grad: Tensor, image: Tensor, channels: slice, forms: int) -> list[Tensor]:
        """Gradients of weight, displacement and sigma in the shapes of :meth:`Call.units`."""
        from torchdau.kernels.gpu.products import unit_gradients

        weight, tables_y, tables_x = self._units(channels, forms)
        units, o = _power(self.k), channels.stop - channels.start
        side = 32 if units <= 2 and self.precision == "tf32" else 16
        programs = -(-o // side), -(-self.i // side) * self.groups
        share = -(-self.frequencies // max(1, PROGRAMS // math.prod(programs)))
        shares = weight.new_empty(-(-self.frequencies // share), 1 + forms, *weight.shape)
        tiles = image.shape[2]
        grad = grad[..., channels.start :]
        unit_gradients[*programs, len(shares)](
            grad, image, shares, tables_y, tables_x, tiles, self.y.length, self.x.length, self.k, weight.shape[1],
            self.i, o, image.stride(2), grad.stride(2), self.i, self.o, share, SIGMA=forms > 2,
            PRECISION=self.precision, TILES=16, OUTPUTS=side, INPUTS=side, UNITS=units, num_warps=8,
        )  # fmt: skip
        d_weight, d_y, d_x, *rest = shares.sum(0)
        d_sigma = weight * rest[0] if rest else weight[:0]
        return [d_weight, weight * torch.stack([d_y, d_x]), d_sigma]

    def _units(self, channels: slice, forms: int) -> list[Tensor]:
        """Weights (K, P) and the tables (forms, 2, frequencies, K, P) along y and x of some output channels."""
        from torchdau.kernels.gpu.units import tables

        if self._tables[0] != (channels, forms):
            weight = self.weight[:, channels].permute(3, 0, 1, 2).flatten(1).float().contiguous()
            _, _, displacement, sigma, _ = self.tensors
            displacement, sigma = displacement.float().contiguous(), sigma.float().contiguous()
            made, profile = [], self.profile
            for axis, length in enumerate((self.y.length, self.x.length)):
                waves = self._waves(range(profile.first, profile.last + 1), length)
                table = weight.new_empty(forms, 2, length // 2 + 1, *weight.shape)
                tables[-(-weight.numel() // 32),](
                    displacement.view(-1)[axis:], sigma, table, waves, *weight.shape, self.i,
                    channels.stop - channels.start, self.o, channels.start, length // 2 + 1, profile.first,
                    profile.size, profile.radius, SHARED=sigma.ndim == 0,
                    GAUSSIAN=profile.interpolation == "gaussian", EXACT=profile.displacement_gradient == "exact",
                    FORMS=forms, PRECISION=self.precision, UNITS=32, POSITIONS=_block(profile.size), FREQUENCIES=16,
                    num_warps=4,
                )  # fmt: skip
                made.append(table)
            self._tables = (channels, forms), [weight, *made]
        return self._tables[1]

    def _room(self, tiles: int, channels: int) -> Tensor:
        """Room for spectra (frequencies, part, tiles, channels of all groups)."""
        like = self.tensors[0]
        return like.new_empty(self.frequencies, 4, tiles, self.groups * channels, dtype=self.spectra_dtype)

    def _channel_pieces(self, forms: int) -> list[slice]:
        """Slices of a group's output channels whose tables fit."""
        frequencies = self.y.length // 2 + self.x.length // 2 + 2
        return slices(self.o, TABLES // (8 * forms * frequencies * self.k * self.groups * self.i))

    def _pieces(self, channels: int) -> Iterator[tuple[int, int]]:
        """The first tile and the number of tiles of pieces whose spectra of ``channels`` fit."""
        input = self.tensors[0]
        tiles = self.n * self.y.inputs.count * self.x.inputs.count
        pixels = input.numel() + self.n * self.groups * self.o * math.prod(self.output_size)
        each = 4 * self.frequencies * self.groups * channels * self.spectra_dtype.itemsize
        for piece in slices(tiles, (SPECTRA + 2 * pixels * input.itemsize) // each):
            yield piece.start, piece.stop - piece.start

    def _analyse(self, images: Tensor, side: int, first: int, count: int) -> Tensor:
        """Spectra (frequencies, part, tiles, channels) of some tiles of images (N, C, H, W) of a side of the layer."""
        from torchdau.kernels.gpu.images import analysis

        spectra = self._room(count, images.shape[1] // self.groups)
        (tiles_y, tiles_x), waves = self._tiles(side), self._transforms(side)
        width = _block(tiles_x.size)
        channels = min(8, (512 if self.precision == "tf32" else 256) // width)
        analysis[count, -(-images.shape[1] // channels), -(-waves[0].shape[1] // 16)](
            images, spectra, *waves, first, images.shape[1], *self._geometry(images, tiles_y, tiles_x),
            PRECISION=self.precision, ROWS=16, CHANNELS=channels, WIDTH=width, COLUMNS=16, num_warps=8, num_stages=2,
        )  # fmt: skip
        return spectra

    def _synthesise(self, spectra: Tensor, images: Tensor, side: int, first: int, bias: Tensor | None) -> None:
        """Adjoint of :meth:`_analyse`: writes tiles into images or, where they may overlap, adds them."""
        from torchdau.kernels.gpu.images import synthesis

        (tiles_y, tiles_x), waves = self._tiles(side), self._transforms(side)
        columns = _block(waves[1].shape[1])
        channels = min(16, 256 // columns)
        grid = spectra.shape[2], -(-images.shape[1] // channels), -(-tiles_y.size // 16)
        for phase_y, phase_x in itertools.product(range(tiles_y.phases), range(tiles_x.phases)):
            synthesis[grid](
                spectra, images, None if bias is None else bias.contiguous(), *waves, first, images.shape[1],
                *self._geometry(images, tiles_y, tiles_x), phase_y, tiles_y.phases, phase_x, tiles_x.phases,
                PRECISION=self.precision, ROWS=16, CHANNELS=channels, WIDTH=32, COLUMNS=columns,
                ADD=side == INSIDE and not self.whole, BIAS=bias is not None, num_warps=8, num_stages=1,
            )  # fmt: skip

    def _tiles(self, side: int) -> tuple[Tiles, Tiles]:
        return (self.y.inputs, self.x.inputs) if side == INSIDE else (self.y.outputs, self.x.outputs)

    def _geometry(self, images: Tensor, *axes: Tiles) -> list[int]:
        numbers = []
        for tiles, pixels, length in zip(axes, images.shape[2:], (self.y.length, self.x.length), strict=True):
            numbers += [tiles.count, pixels, tiles.start, tiles.size, tiles.step, length]
        return [*numbers, *images.stride()]

    def _transforms(self, side: int) -> list[Tensor]:
        """Cosines and sines (2, frequencies, positions) of the pixels of a tile along y and along x."""
        axes = self.y, self.x
        return [self._waves(range(a.inputs.size) if side == INSIDE else a.positions, a.length) for a in axes]

    def _waves(self, positions: range, length: int) -> Tensor:
        """Cosines and sines (2, frequencies, positions); made on the GPU, where a graph may be recorded."""
        from torchdau.kernels.gpu.blocks import fill_waves

        if (positions, length) not in self._known_waves:
            table = self.tensors[0].new_empty(2, length // 2 + 1, len(positions), dtype=torch.float32)
            start = positions.start % length  # remainders of negative numbers are negative there
            programs = -(-table[0].numel() // 256)
            fill_waves[programs,](table, start, positions.step, *table.shape[1:], length, BLOCK=256)
            self._known_waves[positions, length] = table
        return self._known_waves[positions, length]


def _power(size: int) -> int:
    """The power of two from ``size``."""
    return 1 << (size - 1).bit_length()


def _block(size: int) -> int:
    """The power of two from ``size`` that a matrix product takes: 16 or more."""
    return max(16, _power(size))
