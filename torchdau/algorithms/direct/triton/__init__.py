"""Layers with few channels in a group by Triton kernels. The other files in this folder import Triton."""

import torch

from torchdau.algorithms.layer import Layer
from torchdau.gpu import available

FEW = 4
"""Most input channels of a group: each costs as much as a depthwise layer."""

RADIUS = 10
"""Largest half-width of a Gaussian in pixels: the smallest tiles still have outputs beside it."""


def unsuitable(layer: Layer) -> str | None:
    """Return the reason why the kernels cannot compute a layer on a GPU, or None."""
    profile, channels = layer.profile, layer.weight[1]
    if profile.interpolation != "bilinear":
        return f"must have interpolation='bilinear' on a GPU, got {profile.interpolation!r}"
    if layer.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"must have input of float32 or less, got dtype={layer.dtype}"
    if channels > FEW:
        return f"must have at most {FEW} input channels in a group on a GPU, got {channels}"
    if profile.radius > RADIUS:
        return f"must have max_sigma of at most {RADIUS / 3:.1f} pixels on a GPU, got {profile.max_sigma}"
    if not available(layer.device):
        return "needs Triton and an NVIDIA GPU of compute capability 8.0"
    return None
