"""The native kernels of the direct algorithm as operators of PyTorch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchdau.algorithms.direct import elsewhere, triton
from torchdau.algorithms.direct.arguments import layer_of, output_shape, prepared, runs_here
from torchdau.algorithms.direct.choice import Shape, backward_kernel, forward_kernel
from torchdau.algorithms.registered import Backward, Operator, plain
from torchdau.kernels import call
from torchdau.profile import Profile

PLANES = 64 << 20
"""Bytes that blurred images may take; more are worked through in pieces of images."""

IMAGES = 16
"""Blurred images among which a kernel finds pixels by 32-bit numbers."""


def _on_gpu(
    input: Tensor,
    weight: Tensor,
    sigma: Tensor,
    output: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    profile: Profile,
) -> Any:
    """The layer by Triton kernels where they serve, or None."""
    if input.device.type != "cuda" or not len(input) or triton.unsuitable(input, weight, profile):
        return None
    from torchdau.algorithms.direct.triton.layer import Layer

    return Layer(input, weight, sigma.ndim == 0, output, stride, padding, groups, profile)


def _shape(
    input: Tensor, weight: Tensor, stride: Sequence[int], size: Sequence[int], groups: int, profile: Profile
) -> Shape:
    filters, channels, units = weight.shape
    size, steps = (size[0], size[1]), (stride[0], stride[1])
    return Shape(len(input), groups, channels, filters // groups, units, size, steps, profile.size)


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
    shape = output_shape(input, weight, stride, padding)
    on_gpu = _on_gpu(input, weight, sigma, shape, stride, padding, groups, profile)
    if on_gpu is not None:
        with plain(input):
            return on_gpu.forward(input, prepared(weight, displacement, sigma), bias)
    kernel = forward_kernel(_shape(input, weight, stride, shape[2:], groups, profile))
    bound = profile.reach - profile.radius
    rows, columns = ((p - 1) * t + 2 * bound + 65 for p, t in zip(shape[2:], stride, strict=True))
    huge = kernel == "blurred" and rows * columns * IMAGES >= 1 << 31
    if not runs_here(input) or huge:
        tensors = input, weight, displacement, sigma, bias
        return elsewhere.forward(*tensors, stride, padding, groups, *profile.options[1:])
    output = torch.empty(shape, dtype=torch.float32, device="cpu")
    if len(input):
        layer = layer_of(input, weight, stride, padding, groups, profile)
        layer.planes = max(1, min(len(input), PLANES // (4 * input.shape[1] * rows * columns)))
        arguments = prepared(input, weight, displacement, sigma, bias)
        call(f"{kernel}_forward", layer, [*arguments, None, output, None, None, None])
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, weight, displacement and sigma; one that is not ``needed`` is an empty tensor."""
    profile = Profile("bilinear", displacement_gradient, max_displacement, max_sigma)
    on_gpu = _on_gpu(input, weight, sigma, grad.shape, stride, padding, groups, profile)
    if on_gpu is not None:
        with plain(input):
            return _on_gpu_backward(on_gpu, grad, (input, weight, displacement, sigma), needed)
    kernel = backward_kernel(_shape(input, weight, stride, grad.shape[2:], groups, profile))
    if kernel is None or needed[3] or not runs_here(grad):  # sigma is learned, and all units share it
        tensors = input, weight, displacement, sigma
        options = stride, padding, groups, *profile.options[1:]
        d_input, d_weight, d_displacement, d_sigma, _ = elsewhere.gradients(
            grad, (*tensors, None), options, [*needed, False]
        )
        return d_input, d_weight, d_displacement, d_sigma
    units = needed[1] or needed[2]
    like = ((input, needed[0]), (weight, units), (displacement, units))
    room = torch.empty if len(input) else torch.zeros
    made = [room(t.shape, dtype=torch.float32, device="cpu") if need else None for t, need in like]
    if len(input):
        layer = layer_of(input, weight, stride, padding, groups, profile)
        arguments = prepared(input, weight, displacement, sigma, None, grad)
        call(f"{kernel}_backward", layer, [*arguments, None, *made])
    d_input, d_weight, d_displacement = (
        grad.new_empty(0) if d is None or not need else d.to(t.dtype)
        for d, (t, _), need in zip(made, like, needed[:3], strict=True)
    )
    return d_input, d_weight, d_displacement, grad.new_empty(0)


def _fake_backward(grad, input, weight, displacement, sigma, *options):  # type: ignore[no-untyped-def]
    tensors = zip((input, weight, displacement, sigma), options[-1], strict=True)
    return tuple(t.new_empty(t.shape) if need else grad.new_empty(0) for t, need in tensors)


def _on_gpu_backward(
    layer: Any, grad: Tensor, tensors: Sequence[Tensor], needed: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    input, *parameters = tensors
    units = prepared(*parameters)
    d_input = layer.input_gradient(grad, units) if needed[0] else None
    grads = layer.unit_gradients(grad, input, units, needed[3]) if any(needed[1:]) else [None] * 3
    made = zip([d_input, *grads], tensors, needed, strict=True)
    d_input, d_weight, d_displacement, d_sigma = (d.to(t.dtype) if need else grad.new_empty(0) for d, t, need in made)
    return d_input, d_weight, d_displacement, d_sigma


_compute_gradients = Backward("torchdau::direct_backward", _backward, _fake_backward)


def _gradients(
    observed: bool, grad: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], options: Any, needed: list[bool]
) -> Sequence[Tensor | None]:
    grads = _compute_gradients(observed, grad, *tensors[:4], *options, needed[:4])
    return *grads, grad.sum((0, 2, 3), dtype=torch.float32).to(grad.dtype) if needed[4] else None


compute = Operator("torchdau::direct", _forward, _fake, _gradients)
