"""Displaced aggregation units for PyTorch: convolution filters that learn where they read."""

from torchdau import init
from torchdau.conv import DAUConv2d
from torchdau.functional import dau_conv2d
from torchdau.optim import parameter_groups

__version__ = "0.1.0"

__all__ = ["DAUConv2d", "__version__", "dau_conv2d", "init", "parameter_groups"]
