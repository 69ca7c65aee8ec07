"""Parts of a tile that the transforms process at a time, by the size of the transform, as measured on an H100."""

from typing import NamedTuple


class Blocks(NamedTuple):
    """Parts of a tile that a program processes at a time: columns of the spectrum, channels, rows of pixels."""

    COLUMNS: int
    CHANNELS: int
    PIXELS: int
    num_warps: int
    num_stages: int


ANALYSIS = {
    (32, 16): Blocks(8, 32, 8, 8, 3),
    (64, 16): Blocks(8, 16, 16, 4, 2),
    (128, 32): Blocks(8, 32, 16, 8, 3),
    (128, 64): Blocks(16, 16, 8, 8, 3),
}
"""By numbers of a column of the spectrum and pixels along x: fastest on an H100 in bfloat16."""

SYNTHESIS = {
    (32, 16): Blocks(8, 32, 8, 8, 3),
    (64, 16): Blocks(8, 16, 16, 4, 3),
    (128, 32): Blocks(8, 16, 16, 4, 3),
    (128, 64): Blocks(8, 32, 16, 8, 2),
}

WIDE_ANALYSIS, WIDE_SYNTHESIS = Blocks(16, 8, 8, 4, 2), (Blocks(8, 16, 16, 4, 2), Blocks(8, 8, 16, 4, 2))
"""In TF32, up to 128 numbers of a column; synthesis up to 32 pixels along x, and above.

On an H100, analysis and the former synthesis are the fastest for images of 56 pixels. For more than 32 written pixels,
this synthesis does not fit into the 99 KB of shared memory of smaller GPUs.
"""

OTHERS = Blocks(8, 16, 16, 8, 2), Blocks(8, 8, 8, 8, 1)
"""For other sizes in bfloat16: up to 128 numbers of a column, and above."""

WIDE_OTHERS = Blocks(8, 16, 8, 8, 1), Blocks(8, 8, 8, 8, 1)
"""For float32: products of tf32x3, additions to images (both need more memory), and the largest sizes."""


def choose(rows: int, width: int, wide: bool, precision: str) -> tuple[Blocks, Blocks, Blocks]:
    """Return the blocks of an analysis, of a synthesis that writes, and of one that adds.

    Args:
        rows: numbers of a column of the spectrum.
        width: pixels along x.
        wide: whether spectra are float32 and not bfloat16.
        precision: precision of float32 products, "tf32" or "tf32x3".
    """
    large = rows > 128
    others = (WIDE_OTHERS if wide else OTHERS)[large]
    if not wide:
        return ANALYSIS.get((rows, width), others), SYNTHESIS.get((rows, width), others), others
    if large or precision != "tf32":
        return others, others, others
    return WIDE_ANALYSIS, WIDE_SYNTHESIS[width > 32], others
