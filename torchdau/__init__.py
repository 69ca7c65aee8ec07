"""Displaced aggregation units for PyTorch: convolution filters that learn where they read."""

from torchdau import flops, init
from torchdau.conv import DAUConv2d
from torchdau.functional import dau_conv2d
from torchdau.optim import optimizer, parameter_groups
from torchdau.saving import load_model, save_model
from torchdau.surgery import convert_, convolutions, fold_, pool_strides_, prune_units_, rescale_, weak_units

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
