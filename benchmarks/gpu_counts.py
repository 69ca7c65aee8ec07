"""Count what the GPU kernels move and multiply, layer by layer, without a GPU.

    uv run python benchmarks/gpu_counts.py

Prints a Markdown table: bytes between the kernels and the memory of the GPU, and multiply-adds, of a forward pass and
of a training step in bfloat16, beside those of the prototype in which the design was measured on an H100 (docs/gpu.md).
The prototype has fewer frequencies, and transforms images of up to 28 pixels in one product with a flattened basis.
"""

from typing import NamedTuple

BATCH = 256
SHAPES = {
    "64 at 56": (64, 56, 1),
    "128 at 28": (128, 28, 1),
    "256 at 14": (256, 14, 1),
    "512 at 7": (512, 7, 1),
    "128 at 56, stride 2": (128, 56, 2),
}
UNITS = 2
REACH = 4 + 2
"""Pixels beyond the image: displacements of up to 4, a Gaussian of sigma 0.5."""

FLATTENED = 28
"""Pixels of an image up to which the prototype transforms both axes at once."""


class Counts(NamedTuple):
    """Bytes moved and multiply-adds.

    Attributes:
        megabytes: read and written, each kernel's inputs and outputs once.
        billions: multiply-adds.
    """

    megabytes: float
    billions: float


def layer(channels: int, side: int, stride: int, prototype: bool, training: bool) -> Counts:
    """Count one layer of as many input as output channels."""
    length, outputs = side + REACH, -(-side // stride)
    columns = length // 2 + 1
    frequencies = columns * length
    if prototype:  # columns that are their own mirror image have half the rows
        mirrored = 2 if length % 2 == 0 else 1
        frequencies -= mirrored * (length - columns)
    images, results = (BATCH * channels * pixels**2 for pixels in (side, outputs))
    spectra = 2 * BATCH * channels * frequencies
    filters = 2 * frequencies * channels**2

    def transform(pixels: int) -> int:
        if prototype and side <= FLATTENED:
            return spectra * pixels**2
        return BATCH * channels * (2 * columns * pixels**2 + 4 * frequencies * pixels)

    # analysis, synthesis; filters written; product of input and filters
    numbers = images + spectra + spectra + results + filters + 2 * spectra + filters
    if prototype and side > FLATTENED:  # the step along x goes through memory
        numbers += 2 * BATCH * channels * 2 * columns * (side + outputs)
    product = 4 * BATCH * frequencies * channels**2
    multiplies = transform(side) + transform(outputs) + product
    if training:  # two transforms, filters, two products of which one writes the filters' gradient, which is read once
        numbers += numbers + 2 * spectra + 2 * filters
        multiplies += multiplies + product
    sums = 4 * 3 * UNITS * channels**2 * columns if training else 0  # gradients of units, written and read
    return Counts((2 * numbers + 2 * sums) / 1e6, multiplies / 1e9)


def main() -> None:
    print("| | " + " | ".join(SHAPES) + " |")
    print("|---" * (len(SHAPES) + 1) + "|")
    for training in (False, True):
        for prototype in (True, False):
            counts = [layer(*shape, prototype, training) for shape in SHAPES.values()]
            name = f"{'training' if training else 'forward'}, {'prototype' if prototype else 'now'}"
            for unit, values in zip(("MB", "billion multiply-adds"), zip(*counts, strict=True), strict=True):
                print(f"| {name}, {unit} | " + " | ".join(f"{value:.0f}" for value in values) + " |")


if __name__ == "__main__":
    main()
