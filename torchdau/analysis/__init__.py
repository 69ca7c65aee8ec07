"""What the units of a model learned: numbers, and pictures of them."""

from torchdau.analysis.displacements import LayerUnits, units_of

__all__ = ["LayerUnits", "units_of"]
