"""The native kernels of the direct algorithm as operators, with gradients of their own.

``narrow`` is for few input channels in a group: depthwise layers, and the first layers of networks. ``lanes`` is for
all others.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchdau.algorithms.direct import elsewhere
from torchdau.algorithms.direct.arguments import layer_of, output_shape, prepared, runs_here
from torchdau.algorithms.registered import Backward, Operator
from torchdau.kernels import call
from torchdau.profile import Profile

FEW = 16
"""Most input channels of a group for the narrow kernel."""


def kernel_of(channels: int, stride: Sequence[int]) -> str:
    """The kernel for a number of input channels in a group."""
    return "narrow" if channels <= FEW else "lanes"


def _forward(
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    displacement_gradient: str,
    max_displacement: float,
    max_sigma: float,
) -> Tensor:
    profile = Profile("bilinear", displacement_gradient, max_displacement, max_sigma)
    if not runs_here(input):
        tensors = input, weight, displacement, sigma, bias
        return elsewhere.forward(*tensors, stride, padding, groups, *profile.options[1:])
    output = torch.empty(output_shape(input, weight, stride, padding), dtype=torch.float32, device="cpu")
    if len(input):
        layer = layer_of(input, weight, stride, padding, groups, profile)
        arguments = prepared(input, weight, displacement, sigma, bias)
        call(f"{kernel_of(weight.shape[1], stride)}_forward", layer, [*arguments, None, output, None, None, None])
    return output.to(input.dtype)


def _fake(input, weight, displacement, sigma, bias, stride, padding, *options):  # type: ignore[no-untyped-def]
    return input.new_empty(output_shape(input, weight, stride, padding))


def _backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    displacement_gradient: str,
    max_displacement: float,
    max_sigma: float,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, weight and displacement; one that is not ``needed`` is an empty tensor."""
    units = needed[1] or needed[2]
    like = ((input, needed[0]), (weight, units), (displacement, units))
    room = torch.empty if len(input) else torch.zeros
    grads = [room(t.shape, dtype=torch.float32, device="cpu") if need else None for t, need in like]
    if len(input):
        profile = Profile("bilinear", displacement_gradient, max_displacement, max_sigma)
        layer = layer_of(input, weight, stride, padding, groups, profile)
        arguments = prepared(input, weight, displacement, sigma, None, grad)
        call(f"{kernel_of(weight.shape[1], stride)}_backward", layer, [*arguments, None, *grads])
    d_input, d_weight, d_displacement = (
        grad.new_empty(0) if d is None or not need else d.to(t.dtype)
        for d, (t, _), need in zip(grads, like, needed, strict=True)
    )
    return d_input, d_weight, d_displacement


def _fake_backward(grad, input, weight, displacement, sigma, *options):  # type: ignore[no-untyped-def]
    tensors = zip((input, weight, displacement), options[-1], strict=True)
    return tuple(t.new_empty(t.shape) if need else grad.new_empty(0) for t, need in tensors)


_compute_gradients = Backward("torchdau::direct_backward", _backward, _fake_backward)


def _gradients(
    observed: bool, grad: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], options: Any, needed: list[bool]
) -> Sequence[Tensor | None]:
    if needed[3] or not runs_here(grad):  # sigma is learned, and all units share it
        return elsewhere.gradients(grad, tensors, options, needed)
    grads = _compute_gradients(observed, grad, *tensors[:4], *options, needed[:3])
    return *grads, None, grad.sum((0, 2, 3), dtype=torch.float32).to(grad.dtype) if needed[4] else None


compute = Operator("torchdau::direct", _forward, _fake, _gradients)
