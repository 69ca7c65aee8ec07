"""The spectral algorithm as operators of PyTorch: what they return, and their derivatives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchdau.algorithms.spectral import native, triton
from torchdau.algorithms.spectral.task import Layer, Task, layout
from torchdau.algorithms.spectral.tiling import output_size
from torchdau.kernels import advise, available
from torchdau.profile import Profile


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
    output: Tensor = _spectral(input, weight, displacement, sigma, bias, stride, padding, groups, *profile.options)
    return output


@torch.library.custom_op("torchdau::spectral", mutates_args=())
def _spectral(
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
) -> Tensor:
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    with torch.autocast(input.device.type, enabled=False):
        layer = Layer(input, weight, displacement, sigma, bias, stride, padding, groups, profile)
        return _task(layer).forward()


@torch.library.custom_op("torchdau::spectral_backward", mutates_args=())
def _spectral_backward(
    grad: Tensor,
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
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, weight, displacement, sigma and bias; one that is not ``needed`` is an empty tensor."""
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    with torch.autocast(input.device.type, enabled=False):
        layer = Layer(input, weight, displacement, sigma, bias, stride, padding, groups, profile)
        grads = _task(layer).backward(grad, needed)
        d_input, d_weight, d_displacement, d_sigma, d_bias = (grad.new_empty(0) if g is None else g for g in grads)
        return d_input, d_weight, d_displacement, d_sigma, d_bias


def _task(layer: Layer) -> Task | native.Task:
    """The call, by the kernels for the GPU or the native ones where they serve, else by PyTorch."""
    if triton.fits(layer.input, layer.weight, layer.stride, layer.profile):
        from torchdau.algorithms.spectral.triton.task import Task as TritonTask

        return TritonTask(layer)
    if native.fits(layer.input, layer.weight) and layer.input.numel():
        if available():
            return native.Task(layer)
        advise()
    return Task(layer)


def serves(input: Tensor, weight: Tensor, stride: Sequence[int], profile: Profile) -> bool:
    """Whether kernels compute the layer, and not PyTorch."""
    return triton.fits(input, weight, stride, profile) or native.serves(input, weight)


@_spectral.register_fake
def _(input, weight, displacement, sigma, bias, stride, padding, *options):  # type: ignore[no-untyped-def]
    size = [output_size(*axis) for axis in zip(input.shape[2:], stride, padding, strict=True)]
    return input.new_empty(input.shape[0], weight.shape[0], *size).to(memory_format=layout(input))


@_spectral_backward.register_fake
def _(grad, input, weight, displacement, sigma, bias, *options):  # type: ignore[no-untyped-def]
    tensors = input, weight, displacement, sigma, bias
    layouts = layout(input), *[torch.contiguous_format] * 4
    return tuple(
        torch.empty_like(t, memory_format=order) if need and t is not None else grad.new_empty(0)
        for t, order, need in zip(tensors, layouts, options[-1], strict=True)
    )


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _autograd(ctx, grad):  # type: ignore[no-untyped-def]
    needed = list(ctx.needs_input_grad[:5])
    grads = _spectral_backward(grad, *ctx.saved_tensors, *ctx.options, needed)
    return *(g if need else None for g, need in zip(grads, needed, strict=True)), *[None] * len(ctx.options)


def _no_second_derivative(ctx, *grads):  # type: ignore[no-untyped-def]
    raise NotImplementedError(
        'algorithm must be "dense" or "reference" for the gradient of a gradient, got "spectral" or "direct". '
        'Pass algorithm="dense" to the layer or function that is differentiated twice.'
    )


_spectral.register_autograd(_autograd, setup_context=_setup_context)
_spectral_backward.register_autograd(_no_second_derivative)
