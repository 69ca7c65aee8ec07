"""What all pictures have in common."""

from typing import Final

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito, which the colour-blind can tell apart."""
MARKERS = ("o-", "s--", "^-.", "D:")
LINES = ("-", "--", "-.", ":")
SEQUENTIAL: Final = "cividis"
"""A colour map that the colour-blind read as others do, and that is a ramp in grey print."""
