"""Unit by unit, by native kernels: for small images and batches, strides, few channels in a group, and pruned layers.

It is for a CPU, float32 and below, and units of the bilinear form that share one sigma. :mod:`choice` says which
kernel serves which layer.
"""

import torch
from torch import Tensor

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
    reason = unsuitable(input, sigma, profile)
    if reason:
        raise ValueError(f'algorithm="direct" {reason}. Take "auto", which chooses an algorithm that serves.')
    bounds = profile.displacement_gradient, profile.max_displacement, profile.max_sigma
    return compute(input, weight, displacement, sigma, bias, stride, padding, groups, *bounds)


def unsuitable(input: Tensor, sigma: Tensor, profile: Profile) -> str | None:
    """Say why the kernels cannot compute this layer, or return None."""
    if profile.interpolation != "bilinear":
        return f"must have interpolation='bilinear', got {profile.interpolation!r}"
    if sigma.ndim:
        return f"must have one sigma for all units, got sigma of shape {tuple(sigma.shape)}"
    if input.device.type != "cpu":
        return f"must have its input on a CPU, got device={input.device}"
    if torch.promote_types(input.dtype, torch.float32) != torch.float32:
        return f"must have input of float32 or less, got dtype={input.dtype}"
    if not available():
        return f"needs the native kernels, which are {kernels().reason}"
    return None
