"""Unit by unit: for small images and batches, strides, few channels in a group, and pruned layers.

On a CPU it has native kernels, in float32 and below; :mod:`choice` selects one for each layer. With a sigma for each
unit, or in the Gaussian form, they require few channels in a group. On a GPU it has Triton kernels for few channels in
a group and the bilinear form.
"""

import torch
from torch import Tensor

from torchdau.algorithms.direct import triton
from torchdau.algorithms.direct.choice import FEW, backward_cost, cost
from torchdau.algorithms.direct.operators import compute
from torchdau.algorithms.layer import Layer
from torchdau.kernels import available, kernels
from torchdau.profile import Profile

__all__ = ["backward_cost", "cost", "dau_conv2d", "unsuitable"]


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
    spectral_backward: bool = False,
) -> Tensor:
    """Compute the operator of docs/operator.md; see :mod:`torchdau.algorithms` for the arguments.

    ``spectral_backward`` leaves the backward pass to the spectral algorithm.
    """
    return compute(input, weight, displacement, sigma, bias, stride, padding, groups, *profile, spectral_backward)


def unsuitable(layer: Layer) -> str | None:
    """Return the reason why the kernels cannot compute this layer, or None."""
    if layer.device.type == "cuda":
        return triton.unsuitable(layer)
    few, form = layer.weight[1] <= FEW, layer.profile.interpolation
    if not few and form != "bilinear":
        return f"must have interpolation='bilinear' for more than {FEW} input channels, got {form!r}"
    if not few and not layer.shared:
        return f"must have one sigma for more than {FEW} input channels, got sigma of shape {layer.weight}"
    if layer.device.type != "cpu":
        return f"must have its input on a CPU or an NVIDIA GPU, got device={layer.device}"
    if torch.promote_types(layer.dtype, torch.float32) != torch.float32:
        return f"must have input of float32 or less, got dtype={layer.dtype}"
    if not available():
        return f"needs the native kernels, which are {kernels().reason}"
    return None
