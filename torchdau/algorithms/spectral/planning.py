"""Costs of the spectral algorithm, and the tiles that minimise them."""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from torchdau.algorithms.layer import output_size
from torchdau.algorithms.spectral.tiling import Axis, cut
from torchdau.kernels import LANES

SPECTRA = 64 << 20
"""Most bytes of spectra of images in the kernels, beside twice the input and output; more are processed in pieces."""

LEAST = 8
"""Fewest input channels of a group for the kernels if there are several groups: they compute many at once."""


class Rates(NamedTuple):
    """Slowness of the steps of a forward pass, relative to a multiply-add of a large matrix product.

    Attributes:
        filters: a multiply-add of the spectra of filters.
        transforms: a multiply-add of the transforms of images.
        frequencies: a number of the spectrum of an image, written and read.
        copies: a pixel of images that are cut into tiles.
    """

    filters: float
    transforms: float
    frequencies: float
    copies: float


PYTORCH = Rates(7.5, 1.5, 45, 75)
KERNELS = Rates(1, 0.75, 45, 20)


class Costs(NamedTuple):
    """Costs of the steps of the native kernels, in multiply-adds of a large matrix product in float32.

    Attributes:
        products: of a complex product with one filter at one frequency.
        filters: of a multiply-add of the spectra of filters.
        transforms: of a multiply-add of the transforms of images.
        frequencies: of a number of the spectrum of an image, written and read.
        units: of the tables of a unit.
        written: of a pixel of the output, which is new memory.
        call: of a call.
    """

    products: float
    filters: float
    transforms: float
    frequencies: float
    units: float
    written: float
    call: float


FLOAT32 = Costs(3, 1, 2.2, 0, 1100, 80, 2.5e7) if LANES == 16 else Costs(2.2, 1, 0.05, 140, 2100, 120, 1.8e7)
"""Costs in float32, fitted to times on Emerald Rapids and Zen 4 with AVX-512, and to those of 89 layers on Zen 3."""

BFLOAT16 = Costs(0.58, 2.1, 0.94, 0, 520, 40, 3.3e7)
"""Costs in bfloat16 with AMX, fitted to times on Emerald Rapids."""


def narrow(input: Sequence[int], weight: Sequence[int]) -> bool:
    """Return whether a layer of such shapes has few channels in many groups, and is not for the kernels."""
    return LEAST > weight[1] != input[1]


@lru_cache(maxsize=256)
def plan(
    n: int,
    groups: int,
    i: int,
    o: int,
    k: int,
    axes: tuple[tuple[int, int, int], ...],
    first: int,
    last: int,
    rates: Rates = PYTORCH,
) -> tuple[Axis, Axis]:
    """Return the cheapest tiling of both axes, each of (size, stride, padding)."""
    options = []
    for size, stride, padding in axes:
        outputs = output_size(size, stride, padding)
        counts = range(1, max(1, outputs // 8) + 1)
        options.append([cut(count, size, outputs, stride, padding, first, last) for count in counts])
    return min(itertools.product(*options), key=lambda pair: _cost(rates, n, groups, i, o, k, *pair))  # type: ignore[return-value]


def _cost(rates: Rates, n: int, groups: int, i: int, o: int, k: int, y: Axis, x: Axis) -> float:
    """Return multiply-adds of a forward pass; anything slower than a large matrix product counts by its time."""
    tiles = n * y.inputs.count * x.inputs.count
    columns = x.length // 2 + 1
    numbers = columns * y.length
    image = 0.0
    for channels, height, width in ((i, y.inputs.size, x.inputs.size), (o, y.outputs.size, x.outputs.size)):
        products = 2 * columns * height * (width + y.length)
        copies = height * width if y.inputs.count * x.inputs.count > 1 else 0
        image += channels * (rates.transforms * products + rates.frequencies * numbers + rates.copies * copies)
    return groups * (tiles * (3 * numbers * i * o + image) + rates.filters * numbers * i * o * (4 * k + 8))


def cost(
    n: int, groups: int, i: int, o: int, k: int, size: tuple[int, int], stride: tuple[int, int], window: int
) -> float:
    """Estimate multiply-adds of a forward pass in PyTorch, without planning; slower operations count by their time."""
    pixels_in = [pixels * s for pixels, s in zip(size, stride, strict=True)]
    lengths = [min(pixels, max(26, window)) + window for pixels in pixels_in]
    tiles = n
    for pixels, length in zip(pixels_in, lengths, strict=True):
        tiles = tiles * (-(-pixels // (length - window)))
    numbers = lengths[0] * (lengths[1] // 2 + 1)
    product = 3 * max(i, 8) * max(o, 8)
    image = (i + o) * (12 * max(lengths) + 180)
    return groups * numbers * (tiles * (product + image) + 15 * i * o * (2 * k + 4)) + 2e8


def native_cost(
    n: int,
    groups: int,
    i: int,
    o: int,
    k: int,
    size: tuple[int, int],
    stride: tuple[int, int],
    window: int,
    bfloat16: bool = False,
) -> float:
    """Estimate the same for the native kernels: products, filters and their tables, transforms of images."""
    costs = BFLOAT16 if bfloat16 else FLOAT32
    channels = [2 * LANES * -(-c // (2 * LANES)) for c in (i, o)]  # as the kernels pad them
    least = None
    for whole in (True, False):
        lengths, tiles = [], n
        for outputs, s in zip(size, stride, strict=True):
            pixels = outputs * s
            count = 1 if whole else -(-pixels // max(26, window))
            lengths.append(-(-pixels // count) + (window // 2 if count == 1 else window))
            tiles *= count
        height, columns = lengths[0], lengths[1] // 2 + 1
        products = height * columns * i * channels[1] * (costs.products * tiles + costs.filters * (4 * k + 8))
        numbers = tiles * sum(channels) * height * columns
        transforms = numbers * (costs.transforms * (lengths[1] + columns) + costs.frequencies)
        if least is None or products + transforms < least:
            least = products + transforms
    assert least is not None
    written = n * o * math.prod(size)
    return groups * (least + costs.units * i * o * k + costs.written * written) + costs.call
