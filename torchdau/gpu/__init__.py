"""Availability of Triton kernels on a GPU. The other files in this folder import Triton."""

import importlib.util
import os

import torch

from torchdau.kernels import TURNED_OFF

CAPABILITY = (8, 0)
"""Lowest compute capability of a GPU for the kernels."""

TRITON = torch.version.cuda is not None and importlib.util.find_spec("triton") is not None
"""Whether Triton and PyTorch for NVIDIA GPUs are installed."""

_OFF = os.environ.get("TORCHDAU_KERNELS") == "0"


def available(device: torch.device) -> bool:
    """Return whether the kernels are available on a GPU."""
    if _OFF or not TRITON or not torch.cuda.is_available():
        return False
    properties = torch.cuda.get_device_properties(device)
    return (properties.major, properties.minor) >= CAPABILITY


def reason() -> str:
    """Describe whether the kernels are available on the current GPU and, if not, why."""
    if _OFF:
        return TURNED_OFF
    if not TRITON:
        return "none: they need PyTorch for CUDA, and Triton"
    if not torch.cuda.is_available():
        return "none: no NVIDIA GPU"
    device = torch.device("cuda", torch.cuda.current_device())
    return "Triton" if available(device) else f"none: they need compute capability {CAPABILITY[0]}.{CAPABILITY[1]}"


def tf32_allowed() -> bool:
    """Return whether products of float32 may be made in TF32, as in PyTorch's convolutions."""
    return bool(torch.backends.cudnn.conv.fp32_precision == "tf32")  # type: ignore[attr-defined]
