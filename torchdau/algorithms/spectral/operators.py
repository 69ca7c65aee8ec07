"""The spectral algorithm as operators of PyTorch: what they return, and their derivatives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchdau.algorithms.spectral import native, triton
from torchdau.algorithms.spectral.task import Layer, Task, layout
from torchdau.algorithms.spectral.tiling import output_size
from torchdau.arguments import is_exporting
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
    keep = (
        torch.is_grad_enabled()
        and any(t.requires_grad for t in (weight, displacement, sigma))
        and not is_exporting()
        and triton.fits(input, weight, stride, profile)
    )
    output: Tensor
    output, _ = _spectral(input, weight, displacement, sigma, bias, stride, padding, groups, *profile.options, keep)
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
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """The output and, where asked to ``keep`` them, the spectra of the input for the backward pass, or nothing."""
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    layer = Layer(input, weight, displacement, sigma, bias, stride, padding, groups, profile)
    spectra = _spectra(input, stride, padding, profile, keep)
    with torch.cuda.device_of(input), torch.autocast(input.device.type, enabled=False):
        return _task(layer, spectra, known=False).forward(), spectra


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
    spectra: Tensor,
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, weight, displacement, sigma and bias; one that is not ``needed`` is an empty tensor."""
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    layer = Layer(input, weight, displacement, sigma, bias, stride, padding, groups, profile)
    with torch.cuda.device_of(input), torch.autocast(input.device.type, enabled=False):
        grads = _task(layer, spectra, known=True).backward(grad, needed)
    d_input, d_weight, d_displacement, d_sigma, d_bias = (grad.new_empty(0) if g is None else g for g in grads)
    return d_input, d_weight, d_displacement, d_sigma, d_bias


def _spectra(input: Tensor, stride: Sequence[int], padding: Sequence[int], profile: Profile, keep: bool) -> Tensor:
    """Room for the spectra that a forward pass keeps."""
    shape = triton.kept_spectra(input, stride, padding, profile) if keep else (0,)
    return input.new_empty(shape, dtype=triton.spectra_dtype(input))


def _task(layer: Layer, spectra: Tensor, known: bool) -> Task | native.Task:
    """The call, by the kernels for the GPU or the native ones where they serve, else by PyTorch."""
    if triton.fits(layer.input, layer.weight, layer.stride, layer.profile):
        from torchdau.algorithms.spectral.triton.task import Task as TritonTask

        return TritonTask(layer, spectra, known)
    if native.fits(layer.input, layer.weight) and layer.input.numel():
        if available():
            return native.Task(layer)
        advise()
    return Task(layer)


def serves(input: Tensor, weight: Tensor, stride: Sequence[int], profile: Profile) -> bool:
    """Whether kernels compute the layer, and not PyTorch."""
    return triton.fits(input, weight, stride, profile) or native.serves(input, weight)


@_spectral.register_fake
def _(input, weight, displacement, sigma, bias, stride, padding, groups, *options):  # type: ignore[no-untyped-def]
    size = [output_size(*axis) for axis in zip(input.shape[2:], stride, padding, strict=True)]
    output = input.new_empty(input.shape[0], weight.shape[0], *size).to(memory_format=layout(input))
    return output, _spectra(input, stride, padding, Profile(*options[:4]), options[4])


@_spectral_backward.register_fake
def _(grad, input, weight, displacement, sigma, bias, *options):  # type: ignore[no-untyped-def]
    tensors = input, weight, displacement, sigma, bias
    layouts = layout(input), *[torch.contiguous_format] * 4
    return tuple(
        torch.empty_like(t, memory_format=order) if need and t is not None else grad.new_empty(0)
        for t, order, need in zip(tensors, layouts, options[-1], strict=True)
    )


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:5], output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # no zeros for the spectra
    ctx.options = inputs[5:-1]


def _autograd(ctx, grad, _):  # type: ignore[no-untyped-def]
    if grad is None:
        return (None,) * len(ctx.needs_input_grad)
    *tensors, spectra = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[:5])
    grads = _spectral_backward(grad, *tensors, *ctx.options, spectra, needed)
    return *(g if need else None for g, need in zip(grads, needed, strict=True)), *[None] * (len(ctx.options) + 1)


def _no_second_derivative(ctx, *grads):  # type: ignore[no-untyped-def]
    raise NotImplementedError(
        'algorithm must be "dense" or "reference" for the gradient of a gradient, got "spectral" or "direct". '
        'Pass algorithm="dense" to the layer or function that is differentiated twice.'
    )


_spectral.register_autograd(_autograd, setup_context=_setup_context)
_spectral_backward.register_autograd(_no_second_derivative)
