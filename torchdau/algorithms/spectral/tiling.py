"""Where the overlapping tiles of the spectral algorithm lie in the images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tiles:
    """``count`` segments of ``size`` pixels along one axis, ``step`` apart, the first at pixel ``start``."""

    start: int
    size: int
    step: int
    count: int

    @property
    def stop(self) -> int:
        """The pixel after the last one of the last tile."""
        return self.start + self.step * (self.count - 1) + self.size

    @property
    def phases(self) -> int:
        """Of how many tiles only one is taken so that none of those taken have pixels in common."""
        return min(self.count, -(-self.size // self.step))

    def part(self, numbers: slice) -> "Tiles":
        """Some of the tiles."""
        return Tiles(self.start + numbers.start * self.step, self.size, self.step, numbers.stop - numbers.start)


@dataclass(frozen=True)
class Axis:
    """One axis of the images, cut for circular convolutions of one length.

    Attributes:
        length: transform length T.
        inputs: tiles of the input; they overlap by the window of the units.
        outputs: tiles of the output, as many, that do not overlap.
        positions: where, within an input tile, displacement 0 of each output of its output tile reads.
        whole: whether one tile is the whole axis; others may overlap, or leave out pixels that no unit reads.
    """

    length: int
    inputs: Tiles
    outputs: Tiles
    positions: range
    whole: bool


def output_size(size: int, stride: int, padding: int) -> int:
    """Pixels of the output along an axis: those of a 1 x 1 convolution."""
    return (size + 2 * padding - 1) // stride + 1


def whole_length(size: int, outputs: int, stride: int, padding: int, first: int, last: int) -> int:
    """Length of a transform of a whole axis: the zeros of one side serve both, because the convolution is circular."""
    return max(size - min(first - padding, 0), stride * (outputs - 1) - padding + last + 1)


def cut(count: int, size: int, outputs: int, stride: int, padding: int, first: int, last: int) -> Axis:
    """An axis of ``size`` pixels in ``count`` tiles, for units that read at first..last.

    One tile is the whole axis. More tiles overlap, and what wraps around falls on outputs that belong to their
    neighbours (overlap-save).
    """
    if count == 1:
        positions = range(-padding, stride * outputs - padding, stride)
        length = whole_length(size, outputs, stride, padding, first, last)
        return Axis(length, Tiles(0, size, size, 1), Tiles(0, outputs, outputs, 1), positions, whole=True)
    each = -(-outputs // count)
    count = -(-outputs // each)
    length = stride * (each - 1) + 1 + last - first
    inputs = Tiles(first - padding, length, stride * each, count)
    return Axis(length, inputs, Tiles(0, each, each, count), range(-first, stride * each - first, stride), False)
