"""Colours and lines of all plots."""

from typing import Final

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of Okabe and Ito, which the colour-blind can distinguish."""
MARKERS = ("o-", "s--", "^-.", "D:")
LINES = ("-", "--", "-.", ":")
SEQUENTIAL: Final = "cividis"
"""A colour map that looks alike to the colour-blind and others, and is a ramp in grey print."""
