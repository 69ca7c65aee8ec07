"""Displaced aggregation units for PyTorch: convolution filters that learn where they read."""

from torchdau import flops, init
from torchdau.candidates import convolutions
from torchdau.conv import DAUConv2d
from torchdau.fold import fold_
from torchdau.functional import dau_conv2d
from torchdau.optim import optimizer, parameter_groups
from torchdau.prune import prune_units_, weak_units
from torchdau.saving import load_model, save_model
from torchdau.surgery import convert_, pool_strides_, rescale_

__version__ = "0.1.0"

flops.register()

__all__ = [
    "DAUConv2d",
    "__version__",
    "convert_",
    "convolutions",
    "dau_conv2d",
    "fold_",
    "init",
    "load_model",
    "optimizer",
    "parameter_groups",
    "pool_strides_",
    "prune_units_",
    "rescale_",
    "save_model",
    "weak_units",
]
