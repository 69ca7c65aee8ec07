"""Layers that the kernels cannot compute, by the registered operators of the spectral algorithm."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def forward(*arguments: Any) -> Tensor:
    """Return the output, from the arguments of the direct operators."""
    output: Tensor
    output, _ = torch.ops.torchdau.spectral(*arguments, False)
    return output


def gradients(
    grad: Tensor, tensors: Sequence[Tensor | None], options: Sequence[Any], needed: list[bool]
) -> Sequence[Tensor]:
    """Return the gradients of the five tensors, with the options of the direct operators."""
    grads: Sequence[Tensor] = torch.ops.torchdau.spectral_backward(grad, *tensors, *options, grad.new_empty(0), needed)
    return grads
