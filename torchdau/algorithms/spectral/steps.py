"""The steps of the algorithm that have two forms, in PyTorch and in Triton: what both must do.

Spectra are complex: the first dimension of their tensors is the real and the imaginary part. Some columns of
frequencies are worked through at a time.
"""

from typing import Protocol

from torch import Tensor


class Analysis(Protocol):
    """The spectra of some tiles."""

    def spectra(self, columns: slice) -> Tensor:
        """Spectra (2, columns * rows, G, tiles, C) of some columns; valid until the next call."""


class Synthesis(Protocol):
    """The way back, the adjoint of the analysis: writes tiles into images or adds them."""

    def put(self, columns: slice, spectra: Tensor) -> None:
        """Takes the spectra (2, columns * rows, G, tiles, C) of some columns."""

    def finish(self) -> None:
        """Writes the images, when all columns are there."""


class Side(Protocol):
    """Where the tiles of one side of a layer lie, its input or its output, and their transform."""

    def analyse(self, images: Tensor, part: slice, conjugate: bool, name: str) -> Analysis:
        """The spectra, or their conjugates, of rows ``part`` of the tiles of images (N, G, C, H, W).

        ``name`` is that of the memory that they may use: several at a time have different ones.
        """

    def synthesise(self, images: Tensor, part: slice, conjugate: bool, add: bool) -> Synthesis:
        """What writes such tiles or, where they are to be summed, adds them."""


class Filters(Protocol):
    """Spectra of the filters (G, O, I) that units make, and gradients of the units."""

    def spectra(self, columns: slice) -> Tensor:
        """Spectra (2, columns * rows, G, O, I) of some columns; valid until the next call."""

    def add_gradient(self, columns: slice, grad: Tensor, sigma: bool) -> None:
        """Adds what some columns give to the gradients.

        Args:
            columns: the columns.
            grad: products (2, columns * rows, G, O, I) of the spectra of the images with the conjugate ones of the
                gradient of the output: the loss changes by the real part of their product with a change of filters.
            sigma: whether that of sigma is needed.
        """

    def gradients(self, sigma: bool) -> list[Tensor]:
        """Gradients of weight, displacement and each unit's sigma, empty if not asked for, when everything is added."""
