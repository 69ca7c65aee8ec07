"""Unit by unit: for small images and batches, strides, few channels in a group, and pruned layers.

On a CPU it has native kernels for units that share one sigma; :mod:`choice` says which one serves which layer. On a GPU
it has Triton kernels for few channels in a group. Both are for the bilinear form, float32 and below.
"""

import torch
from torch import Tensor

from torchdau.algorithms.direct import triton
from torchdau.algorithms.direct.choice import cost
from torchdau.algorithms.direct.operators import compute
from torchdau.kernels import available, kernels
from torchdau.profile import Profile

__all__ = ["cost", "dau_conv2d", "unsuitable"]


def dau_conv2d(
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
    profile: Profile,
) -> Tensor:
    """The operator of docs/operator.md; see :mod:`torchdau.algorithms` for the arguments."""
    reason = unsuitable(input, weight, sigma, profile)
    if reason:
        raise ValueError(f'algorithm="direct" {reason}. Take "auto", which chooses an algorithm that serves.')
    bounds = profile.displacement_gradient, profile.max_displacement, profile.max_sigma
    return compute(input, weight, displacement, sigma, bias, stride, padding, groups, *bounds)


def unsuitable(input: Tensor, weight: Tensor, sigma: Tensor, profile: Profile) -> str | None:
    """Say why the kernels cannot compute this layer, or return None."""
    if profile.interpolation != "bilinear":
        return f"must have interpolation='bilinear', got {profile.interpolation!r}"
    if input.device.type == "cuda":
        return triton.unsuitable(input, weight, profile)
    if sigma.ndim:
        return f"must have one sigma for all units, got sigma of shape {tuple(sigma.shape)}"
    if input.device.type != "cpu":
        return f"must have its input on a CPU or an NVIDIA GPU, got device={input.device}"
    if torch.promote_types(input.dtype, torch.float32) != torch.float32:
        return f"must have input of float32 or less, got dtype={input.dtype}"
    if not available():
        return f"needs the native kernels, which are {kernels().reason}"
    return None
