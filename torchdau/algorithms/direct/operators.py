"""The direct algorithm as operators of PyTorch: the kernels that compute them, and their derivatives."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchdau.algorithms.direct import elsewhere, triton
from torchdau.algorithms.direct.native import task
from torchdau.algorithms.layer import Layer
from torchdau.algorithms.registered import Backward, Operator, layout, plain
from torchdau.profile import Profile


def _forward(
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    interpolation: str,
    displacement_gradient: str,
    max_displacement: float,
    max_sigma: float,
    spectral_backward: bool = False,
) -> Tensor:
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    layer = Layer.of(input, weight, sigma, stride, padding, groups, profile)
    on_gpu = _on_gpu(layer)
    output: Tensor
    if on_gpu is not None:
        with plain(input):
            output = on_gpu.forward(input, (weight, displacement, sigma), bias)
    elif native := task(layer, layout(input), backward=False):
        output = native.forward(input, (weight, displacement, sigma), bias)
    else:
        tensors = input, weight, displacement, sigma, bias
        output = elsewhere.forward(*tensors, stride, padding, groups, *profile)
    return output.contiguous(memory_format=layout(input))


def _fake(input, weight, displacement, sigma, bias, stride, padding, groups, *options):  # type: ignore[no-untyped-def]
    layer = Layer.of(input, weight, sigma, stride, padding, groups, Profile(*options[:4]))
    return input.new_empty(layer.output).to(memory_format=layout(input))


def _backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    interpolation: str,
    displacement_gradient: str,
    max_displacement: float,
    max_sigma: float,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight, displacement and sigma; an empty tensor for one not ``needed``."""
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    layer, units = Layer.of(input, weight, sigma, stride, padding, groups, profile), (weight, displacement, sigma)
    on_gpu = _on_gpu(layer)
    grads: Sequence[Tensor | None]
    if on_gpu is not None:
        with plain(input):
            grads = on_gpu.backward(grad, input, units, needed)
    elif not (needed[3] and sigma.ndim == 0) and (native := task(layer, layout(input), backward=True)):
        grads = native.backward(grad, input, units, needed)
    else:  # no kernel has gradients, or all units share a learned sigma
        options = stride, padding, groups, *profile
        grads = elsewhere.gradients(grad, (input, *units, None), options, [*needed, False])[:4]
    made = [
        d.to(t.dtype) if d is not None and need else grad.new_empty(0)
        for d, t, need in zip(grads, (input, *units), needed, strict=True)
    ]
    d_input = made[0].contiguous(memory_format=layout(input)) if needed[0] else made[0]
    return d_input, made[1], made[2], made[3]


def _fake_backward(grad, input, weight, displacement, sigma, *options):  # type: ignore[no-untyped-def]
    tensors = (input, layout(input)), *((t, torch.contiguous_format) for t in (weight, displacement, sigma))
    return tuple(
        torch.empty_like(t, memory_format=order) if need else grad.new_empty(0)
        for (t, order), need in zip(tensors, options[-1], strict=True)
    )


def _on_gpu(layer: Layer) -> Any:
    """Return the layer by Triton kernels, or None if they do not support it."""
    if layer.device.type != "cuda" or not layer.input[0] or triton.unsuitable(layer):
        return None
    from torchdau.algorithms.direct.triton.task import Task

    return Task(layer)


_compute_gradients = Backward("torchdau::direct_backward", _backward, _fake_backward)


def _gradients(
    observed: bool, grad: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], options: Any, needed: list[bool]
) -> Sequence[Tensor | None]:
    *options, spectral_backward = options
    if spectral_backward:
        return elsewhere.gradients(grad, tensors, options, needed)
    grads = _compute_gradients(observed, grad, *tensors[:4], *options, needed[:4])
    return *grads, grad.sum((0, 2, 3), dtype=torch.float32).to(grad.dtype) if needed[4] else None


compute = Operator("torchdau::direct", _forward, _fake, _gradients)
