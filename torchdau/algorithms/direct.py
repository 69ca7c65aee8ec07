"""Unit by unit, by native kernels: for one or a few small images, pruned layers, and few channels.

It serves on a CPU, in float32 and below, for units of the bilinear form that share one sigma.
"""

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torchdau.algorithms import narrow
from torchdau.kernels import available, call, kernels, parallel_for
from torchdau.profile import Profile

PLANES = 64 << 20
"""Bytes that blurred images may take; more are worked through in pieces of images."""

CACHED = 4 << 20
"""Pixels of blurred images that stay in a cache."""

MOST = 16
"""Input channels of a group for which the kernel of :mod:`torchdau.algorithms.narrow` serves."""

IMAGES = 16
"""Blurred images among which the kernel finds pixels by 32-bit numbers."""


class _Axis(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("pixels", "outputs", "stride", "padding")]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "groups", "inputs", "outputs", "units", "planes")),
        ("y", _Axis),
        ("x", _Axis),
        *((name, ctypes.c_int32) for name in ("bound", "radius", "threads")),
        ("parallel_for", ctypes.c_void_p),
    ]


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
    if _is_narrow(weight.shape[1]):
        same = input, weight, displacement, sigma, bias
        return narrow.dau_conv2d(*same, stride=stride, padding=padding, groups=groups, profile=profile)
    bounds = profile.displacement_gradient, profile.max_displacement, profile.max_sigma
    output: Tensor = _direct(input, weight, displacement, sigma, bias, stride, padding, groups, *bounds)
    return output


def unsuitable(input: Tensor, sigma: Tensor, profile: Profile) -> str | None:
    """Why the kernel cannot compute this layer, or None."""
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


def cost(
    n: int, groups: int, i: int, o: int, k: int, size: tuple[int, int], stride: tuple[int, int], window: int
) -> float:
    """Multiply-adds of a forward pass; what runs slower counts by its time."""
    if _is_narrow(i):
        return narrow.cost(n, groups, i, o, k, size, stride)
    rows, columns = size[0] + 2 * (-(-size[0] // 14)), 16 * (-(-size[1] // 15))  # as they are computed
    plane = (size[0] * stride[0] + window) * (size[1] * stride[1] + window)
    each = 3.4 if max(stride) == 1 else 12
    blur = 60 if groups * i * n * plane < CACHED else 130
    return groups * i * n * (o * k * rows * columns * each + blur * plane) + 1e7


def _is_narrow(i: int) -> bool:
    """Whether groups have few input channels: then the kernel for such layers serves."""
    return i <= MOST


def _output_size(size: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> list[int]:
    return [(s + 2 * p - 1) // t + 1 for s, p, t in zip(size, padding, stride, strict=True)]


@torch.library.custom_op("torchdau::direct", mutates_args=())
def _direct(
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
    n, channels, *size = input.shape
    o, i, k = weight.shape
    outputs = _output_size(size, stride, padding)
    farthest = math.prod(p * t + 2 * profile.reach + 64 for p, t in zip(outputs, stride, strict=True)) * IMAGES
    if unsuitable(input, sigma, profile) or farthest >= 1 << 31:  # an exported graph that runs elsewhere; a huge bound
        options = stride, padding, groups, *profile.options
        elsewhere: Tensor
        elsewhere, _ = torch.ops.torchdau.spectral(input, weight, displacement, sigma, bias, *options, False)
        return elsewhere
    output = torch.empty(n, o, *outputs, dtype=torch.float32, device="cpu")
    bound = profile.reach - profile.radius
    y, x = (_Axis(*axis) for axis in zip(size, outputs, stride, padding, strict=True))
    numbers = channels * ((outputs[0] - 1) * stride[0] + 2 * bound + 2) * (outputs[1] * stride[1] + 2 * bound + 64)
    layer = _Layer(
        images=n,
        groups=groups,
        inputs=i,
        outputs=o // groups,
        units=k,
        planes=max(1, min(n, PLANES // (4 * numbers))),
        y=y,
        x=x,
        bound=bound,
        radius=profile.radius,
        threads=torch.get_num_threads(),
        parallel_for=parallel_for(),
    )
    tensors = [None if t is None else t.float().contiguous() for t in (input, weight, displacement, sigma, bias)]
    if n:
        call("direct_forward", layer, [*tensors, output])
    return output.to(input.dtype)


@_direct.register_fake
def _(input, weight, displacement, sigma, bias, stride, padding, *options):  # type: ignore[no-untyped-def]
    n, _, *size = input.shape
    outputs = _output_size(size, stride, padding)
    return input.new_empty(n, weight.shape[0], *outputs)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _autograd(ctx, grad):  # type: ignore[no-untyped-def]
    """Gradients are the spectral algorithm's: they are sums over whole images, whatever computed the output."""
    needed = list(ctx.needs_input_grad[:5])
    options = *ctx.options[:3], "bilinear", *ctx.options[3:]
    grads = torch.ops.torchdau.spectral_backward(grad, *ctx.saved_tensors, *options, grad.new_empty(0), needed)
    return *(g if need else None for g, need in zip(grads, needed, strict=True)), *[None] * len(ctx.options)


_direct.register_autograd(_autograd, setup_context=_setup_context)
