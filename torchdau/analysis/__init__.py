"""What the units of a model learned: numbers, and pictures of them."""

from torchdau.analysis.displacements import LayerUnits, units_of
from torchdau.analysis.pruning import Pruned, forward_times, pruned_models

__all__ = ["LayerUnits", "Pruned", "forward_times", "pruned_models", "units_of"]
