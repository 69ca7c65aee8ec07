"""Unit by unit: for small images and batches, strides, few channels in a group, and pruned layers.

On a CPU it has native kernels, in float32 and below; :mod:`choice` selects one for each layer. With a sigma for each
unit, or in the Gaussian form, they require few channels in a group. On a GPU it has Triton kernels for few channels in
a group and the bilinear form.
"""

import torch
from torch import Tensor

from torchdau.algorithms.direct import triton
from torchdau.algorithms.direct.choice import FEW, cost
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
    """Compute the operator of docs/operator.md; see :mod:`torchdau.algorithms` for the arguments."""
    reason = unsuitable(input, weight, sigma, profile)
    if reason:
        raise ValueError(f'algorithm="direct" {reason}. Take "auto", which chooses an algorithm that serves.')
    return compute(input, weight, displacement, sigma, bias, stride, padding, groups, *profile.options)


def unsuitable(input: Tensor, weight: Tensor, sigma: Tensor, profile: Profile) -> str | None:
    """Return the reason why the kernels cannot compute this layer, or None."""
    if input.device.type == "cuda":
        return triton.unsuitable(input, weight, profile)
    if weight.shape[1] > FEW and profile.interpolation != "bilinear":
        return f"must have interpolation='bilinear' for more than {FEW} input channels, got {profile.interpolation!r}"
    if weight.shape[1] > FEW and sigma.ndim:
        return f"must have one sigma for more than {FEW} input channels, got sigma of shape {tuple(sigma.shape)}"
    if input.device.type != "cpu":
        return f"must have its input on a CPU or an NVIDIA GPU, got device={input.device}"
    if torch.promote_types(input.dtype, torch.float32) != torch.float32:
        return f"must have input of float32 or less, got dtype={input.dtype}"
    if not available():
        return f"needs the native kernels, which are {kernels().reason}"
    return None
