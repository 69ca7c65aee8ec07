"""Changes to the layers of a model: convolutions to units, units to convolutions, fewer units, other strides."""

from torchdau.surgery.candidates import convolutions
from torchdau.surgery.convert import convert_
from torchdau.surgery.fold import fold_
from torchdau.surgery.prune import prune_units_, weak_units
from torchdau.surgery.rescale import rescale_
from torchdau.surgery.strides import pool_strides_

__all__ = ["convert_", "convolutions", "fold_", "pool_strides_", "prune_units_", "rescale_", "weak_units"]
