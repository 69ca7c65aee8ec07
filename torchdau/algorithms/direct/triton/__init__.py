"""Layers with few channels in a group by Triton kernels. The other files in this folder import Triton."""

import torch
from torch import Tensor

from torchdau.gpu import available
from torchdau.profile import Profile

FEW = 4
"""Most input channels of a group: each costs as much as a depthwise layer."""

RADIUS = 10
"""Largest half-width of a Gaussian in pixels: the smallest tiles still have outputs beside it."""


def unsuitable(input: Tensor, weight: Tensor, profile: Profile) -> str | None:
    """Return the reason why the kernels cannot compute a layer on a GPU, or None."""
    if profile.interpolation != "bilinear":
        return f"must have interpolation='bilinear' on a GPU, got {profile.interpolation!r}"
    if input.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"must have input of float32 or less, got dtype={input.dtype}"
    if weight.shape[1] > FEW:
        return f"must have at most {FEW} input channels in a group on a GPU, got {weight.shape[1]}"
    if profile.radius > RADIUS:
        return f"must have max_sigma of at most {RADIUS / 3:.1f} pixels on a GPU, got {profile.max_sigma}"
    if not available(input.device):
        return "needs Triton and an NVIDIA GPU of compute capability 8.0"
    return None
