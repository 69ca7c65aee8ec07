"""Where the overlapping tiles of the spectral algorithm lie in the images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tiles:
    """Equal segments of an axis.

    Attributes:
        start: first pixel of the first segment.
        positions: where each pixel of a segment lies within a transform; for an output, what displacement 0 reads.
        step: pixels between the starts of two segments.
        count: number of segments.
    """

    start: int
    positions: range
    step: int
    count: int

    @property
    def size(self) -> int:
        """Pixels of a segment."""
        return len(self.positions)

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
        return Tiles(self.start + numbers.start * self.step, self.positions, self.step, numbers.stop - numbers.start)


@dataclass(frozen=True)
class Axis:
    """One axis of the images, cut for circular convolutions of one length.

    Attributes:
        length: transform length T.
        inputs: tiles of the input; they overlap by the window of the units.
        outputs: tiles of the output, as many, that do not overlap.
        whole: whether one tile is the whole axis; others may overlap, or leave out pixels that no unit reads.
    """

    length: int
    inputs: Tiles
    outputs: Tiles
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
        return Axis(length, Tiles(0, range(size), size, 1), Tiles(0, positions, outputs, 1), whole=True)
    each = -(-outputs // count)
    count = -(-outputs // each)
    length = stride * (each - 1) + 1 + last - first
    inputs = Tiles(first - padding, range(length), stride * each, count)
    positions = range(-first, stride * each - first, stride)
    return Axis(length, inputs, Tiles(0, positions, each, count), whole=False)
