"""Units as products of 1-D spectra: one matrix product over channels per frequency; knows nothing of other algorithms.

docs/algorithms.md derives what stands here. Images are cut into tiles (one, where a small image is cheapest whole), a
tile goes to frequencies by constant matrix products, the spectrum of a filter is built from the 1-D spectra of its
units, and the product of the two goes back. Images, rows of tiles and output channels are taken in pieces, so memory is
bounded; in PyTorch only a few columns of frequencies are worked through at a time.
"""

from torchdau.algorithms.spectral.operators import dau_conv2d, serves
from torchdau.algorithms.spectral.planning import cost, native_cost

__all__ = ["cost", "dau_conv2d", "native_cost", "serves"]
