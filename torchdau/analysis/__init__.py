"""Statistics of the learned units of a model, and plots of them."""

from torchdau.analysis.cost import LayerCost, layer_costs, measured_speed_up
from torchdau.analysis.displacements import (
    LayerUnits,
    displacement_distribution,
    distance_distribution,
    distribution,
    moved,
    units_of,
    widened,
)
from torchdau.analysis.pruning import Pruned, forward_times, pruned_models
from torchdau.analysis.receptive_field import ReceptiveField, receptive_field, spatial_layers

__all__ = [
    "LayerCost",
    "LayerUnits",
    "Pruned",
    "ReceptiveField",
    "displacement_distribution",
    "distance_distribution",
    "distribution",
    "forward_times",
    "layer_costs",
    "measured_speed_up",
    "moved",
    "pruned_models",
    "receptive_field",
    "spatial_layers",
    "units_of",
    "widened",
]
