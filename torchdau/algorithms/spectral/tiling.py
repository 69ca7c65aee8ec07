"""Positions of the overlapping tiles of the spectral algorithm in the images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tiles:
    """Equal segments of an axis.

    Attributes:
        start: first pixel of the first segment.
        positions: position of each pixel of a segment within a transform; for an output, the pixel that displacement 0
            reads.
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
        """Number of phases into which tiles are divided, so that no two tiles of a phase share pixels."""
        return min(self.count, -(-self.size // self.step))

    def part(self, numbers: slice) -> "Tiles":
        """Return some of the tiles."""
        return Tiles(self.start + numbers.start * self.step, self.positions, self.step, numbers.stop - numbers.start)


@dataclass(frozen=True)
class Axis:
    """One axis of the images, cut for circular convolutions of one length.

    Attributes:
        length: transform length T.
        inputs: tiles of the input; they overlap by the window of the units.
        outputs: tiles of the output, of the same number, without overlap.
        whole: whether one tile is the whole axis; others may overlap, or leave out pixels that no unit reads.
    """

    length: int
    inputs: Tiles
    outputs: Tiles
    whole: bool


def whole_length(size: int, outputs: int, stride: int, padding: int, first: int, last: int) -> int:
    """Return the transform length of a whole axis; as the convolution is circular, both sides share their zeros."""
    return max(size - min(first - padding, 0), stride * (outputs - 1) - padding + last + 1)


def cut(count: int, size: int, outputs: int, stride: int, padding: int, first: int, last: int) -> Axis:
    """Cut an axis of ``size`` pixels into ``count`` tiles, for units that read at first..last.

    One tile is the whole axis. More tiles overlap: wrapped pixels affect only outputs that neighbouring tiles provide
    (overlap-save).
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
