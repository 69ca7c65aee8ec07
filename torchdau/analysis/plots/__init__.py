"""Plots of the numbers in :mod:`torchdau.analysis`; the only folder that imports matplotlib."""

from torchdau.analysis.plots.displacements import plot_displacements, plot_distances
from torchdau.analysis.plots.pruning import plot_prune_curves
from torchdau.analysis.plots.reach import plot_reach
from torchdau.analysis.plots.receptive_fields import plot_receptive_fields
from torchdau.analysis.plots.sigmas import plot_sigmas

__all__ = [
    "plot_displacements",
    "plot_distances",
    "plot_prune_curves",
    "plot_reach",
    "plot_receptive_fields",
    "plot_sigmas",
]
