"""Units as products of 1-D spectra: one matrix product over channels per frequency; independent of other algorithms.

docs/algorithms.md has the derivation. Images are cut into tiles, or stay whole if a small image is cheapest so.
Constant matrix products bring a tile to frequencies, and the 1-D spectra of units make the spectrum of a filter. The
product of the two is transformed back. Images, rows of tiles and output channels are taken in pieces, so memory is
bounded. PyTorch processes only a few columns of frequencies at a time.
"""

from torchdau.algorithms.spectral.operators import computes_in_bfloat16, dau_conv2d, serves
from torchdau.algorithms.spectral.planning import cost, native_cost

__all__ = ["computes_in_bfloat16", "cost", "dau_conv2d", "native_cost", "serves"]
