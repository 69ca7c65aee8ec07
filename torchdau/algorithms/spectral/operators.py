"""The spectral algorithm as operators of PyTorch: their results, and their derivatives."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from torchdau.algorithms.layer import Layer
from torchdau.algorithms.registered import Backward, Operator, layout, plain
from torchdau.algorithms.spectral import native, triton
from torchdau.algorithms.spectral.task import Task, Tensors
from torchdau.arguments import is_exporting, needs_gradient
from torchdau.gpu import tf32_allowed
from torchdau.kernels import advise, available, in_bfloat16
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
    """Compute the operator of docs/operator.md; see :mod:`torchdau.algorithms` for the arguments."""
    keep = needs_gradient(weight, displacement, sigma) and not is_exporting()
    options = stride, padding, groups, *profile
    return _compute(input, weight, displacement, sigma, bias, *options, keep)


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
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Return the output and the spectra of the input for the backward pass, which are empty unless ``keep``."""
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    layer = Layer.of(input, weight, sigma, stride, padding, groups, profile)
    task = _task(layer, tf32_allowed(), available(), computes_in_bfloat16(layer))
    with plain(input):
        kept = _room(task.kept if keep else (0,), input)
        return task.forward(Tensors(input, weight, displacement, sigma, bias), kept), kept


def _backward(
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
    """Return gradients of input, weight, displacement, sigma and bias; an empty tensor for one not ``needed``."""
    profile = Profile(interpolation, displacement_gradient, max_displacement, max_sigma)
    layer = Layer.of(input, weight, sigma, stride, padding, groups, profile)
    task = _task(layer, tf32_allowed(), available(), computes_in_bfloat16(layer))
    with plain(input):
        grads = task.backward(Tensors(input, weight, displacement, sigma, bias), grad, needed, spectra)
        d_input, d_weight, d_displacement, d_sigma, d_bias = (grad.new_empty(0) if g is None else g for g in grads)
    return d_input, d_weight, d_displacement, d_sigma, d_bias


@lru_cache(maxsize=1024)
def _task(layer: Layer, tf32: bool, native_kernels: bool, bfloat16: bool) -> Task | native.Task:
    """Return the layer by the kernels for the GPU or the native ones if they support it, else by PyTorch."""
    if triton.fits(layer):
        from torchdau.algorithms.spectral.triton.task import Task as TritonTask

        return TritonTask(layer, tf32)
    if native.fits(layer) and 0 not in layer.input:
        if native_kernels:
            return native.Task(layer, bfloat16)
        advise()
    return Task(layer)


def _room(shape: Sequence[int], input: Tensor) -> Tensor:
    """Allocate room for the spectra that a forward pass keeps."""
    return input.new_empty(shape, dtype=triton.spectra_dtype(input.dtype))


def computes_in_bfloat16(layer: Layer) -> bool:
    """Return whether native kernels compute the layer in bfloat16, and not in float32."""
    return layer.dtype == torch.bfloat16 and layer.device.type == "cpu" and in_bfloat16()


def serves(layer: Layer) -> bool:
    """Return whether kernels, and not PyTorch, compute the layer."""
    return triton.fits(layer) or (native.fits(layer) and available())


def _fake(input, weight, displacement, sigma, bias, stride, padding, groups, *options):  # type: ignore[no-untyped-def]
    layer = Layer.of(input, weight, sigma, stride, padding, groups, Profile(*options[:4]))
    output = input.new_empty(layer.output).to(memory_format=layout(input))
    keep = options[4] and triton.fits(layer)
    return output, _room(triton.kept_spectra(layer) if keep else (0,), input)


def _fake_backward(grad, input, weight, displacement, sigma, bias, *options):  # type: ignore[no-untyped-def]
    tensors = input, weight, displacement, sigma, bias
    layouts = layout(input), *[torch.contiguous_format] * 4
    return tuple(
        torch.empty_like(t, memory_format=order) if need and t is not None else grad.new_empty(0)
        for t, order, need in zip(tensors, layouts, options[-1], strict=True)
    )


_compute_gradients = Backward("torchdau::spectral_backward", _backward, _fake_backward)


def _gradients(
    observed: bool, grad: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], options: Any, needed: list[bool]
) -> Sequence[Tensor]:
    grads: Sequence[Tensor] = _compute_gradients(observed, grad, *tensors, *options[:-1], *kept, needed)
    return grads


_compute = Operator("torchdau::spectral", _forward, _fake, _gradients)
