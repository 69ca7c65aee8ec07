"""The spectral algorithm on a GPU, in Triton. The files beside this one import Triton; nothing else does."""

import importlib.util
import os

import torch

from torchdau.kernels import TURNED_OFF

CAPABILITY = (8, 0)
"""Compute capability from which a GPU has what the kernels use."""

TRITON = torch.version.cuda is not None and importlib.util.find_spec("triton") is not None
"""Whether Triton and PyTorch are there for an NVIDIA GPU."""

_OFF = os.environ.get("TORCHDAU_KERNELS") == "0"


def available(device: torch.device) -> bool:
    """Whether the kernels serve on a GPU."""
    if _OFF or not TRITON or not torch.cuda.is_available():
        return False
    properties = torch.cuda.get_device_properties(device)
    return (properties.major, properties.minor) >= CAPABILITY


def reason() -> str:
    """Whether the kernels serve on the current GPU, and why not, in words."""
    if _OFF:
        return TURNED_OFF
    if not TRITON:
        return "none: they need PyTorch for CUDA, and Triton"
    if not torch.cuda.is_available():
        return "none: no NVIDIA GPU"
    device = torch.device("cuda", torch.cuda.current_device())
    return "Triton" if available(device) else f"none: they need compute capability {CAPABILITY[0]}.{CAPABILITY[1]}"
