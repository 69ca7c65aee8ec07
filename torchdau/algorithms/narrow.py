"""Few input channels in a group, by a native kernel with gradients of its own: depthwise and first layers.

The Gaussian comes once per output channel, after the units. It serves where :mod:`torchdau.algorithms.direct` does.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from torchdau.arguments import is_observed, needs_gradient
from torchdau.kernels import available, call, parallel_for
from torchdau.profile import Profile


class _Axis(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("pixels", "outputs", "stride", "padding")]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "groups", "inputs", "outputs", "units")),
        ("y", _Axis),
        ("x", _Axis),
        *((name, ctypes.c_int32) for name in ("bound", "radius", "exact", "threads")),
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
    bounds = profile.displacement_gradient, profile.max_displacement, profile.max_sigma
    tensors = input, weight, displacement, sigma, bias
    arguments = *tensors, stride, padding, groups, *bounds
    output: Tensor
    if is_observed(*tensors):
        output = _narrow(*arguments)
    else:
        output = _Eager.apply(*arguments) if needs_gradient(*tensors) else _forward(*arguments)
    return output


def cost(n: int, groups: int, i: int, o: int, k: int, size: tuple[int, int], stride: tuple[int, int]) -> float:
    """Multiply-adds of a forward pass, by their time."""
    rows, columns = (pixels * step + 4 for pixels, step in zip(size, stride, strict=True))
    return 2 * n * groups * rows * 16 * -(-columns // 16) * (4 * i + o * (3 * k * i + 12))


def _output_size(size: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> list[int]:
    return [(s + 2 * p - 1) // t + 1 for s, p, t in zip(size, padding, stride, strict=True)]


def _layer(
    input: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], groups: int, profile: Profile
) -> tuple[_Layer, list[int]]:
    n, _, *size = input.shape
    outputs = _output_size(size, stride, padding)
    y, x = (_Axis(*axis) for axis in zip(size, outputs, stride, padding, strict=True))
    layer = _Layer(
        images=n,
        groups=groups,
        inputs=weight.shape[1],
        outputs=len(weight) // groups,
        units=weight.shape[2],
        y=y,
        x=x,
        bound=profile.reach - profile.radius,
        radius=profile.radius,
        exact=profile.displacement_gradient == "exact",
        threads=torch.get_num_threads(),
        parallel_for=parallel_for(),
    )
    return layer, [n, len(weight), *outputs]


def _here(input: Tensor) -> bool:
    """Whether the kernel can compute here; an exported graph may run elsewhere."""
    precise = torch.promote_types(input.dtype, torch.float32) != torch.float32
    return input.device.type == "cpu" and not precise and available()


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
    if not _here(input):
        options = stride, padding, groups, *profile.options
        elsewhere: Tensor
        elsewhere, _ = torch.ops.torchdau.spectral(input, weight, displacement, sigma, bias, *options, False)
        return elsewhere
    layer, shape = _layer(input, weight, stride, padding, groups, profile)
    output = torch.empty(shape, dtype=torch.float32, device="cpu")
    if len(input):
        tensors = [None if t is None else t.float().contiguous() for t in (input, weight, displacement, sigma, bias)]
        call("narrow_forward", layer, [*tensors, None, output, None, None, None])
    return output.to(input.dtype)


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
    layer, _ = _layer(
        input, weight, stride, padding, groups, Profile("bilinear", displacement_gradient, max_displacement, max_sigma)
    )
    units = needed[1] or needed[2]
    like = ((input, needed[0]), (weight, units), (displacement, units))
    room = torch.empty if len(input) else torch.zeros
    grads = [room(t.shape, dtype=torch.float32, device="cpu") if need else None for t, need in like]
    if len(input):
        tensors = [t.float().contiguous() for t in (input, weight, displacement, sigma)]
        call("narrow_backward", layer, [*tensors, None, grad.float().contiguous(), None, *grads])
    d_input, d_weight, d_displacement = (
        grad.new_empty(0) if d is None or not need else d.to(t.dtype)
        for d, (t, _), need in zip(grads, like, needed, strict=True)
    )
    return d_input, d_weight, d_displacement


_narrow = torch.library.custom_op("torchdau::narrow", _forward, mutates_args=())
_narrow_backward = torch.library.custom_op("torchdau::narrow_backward", _backward, mutates_args=())


@_narrow.register_fake
def _(input, weight, displacement, sigma, bias, stride, padding, *options):  # type: ignore[no-untyped-def]
    n, _, *size = input.shape
    return input.new_empty(n, weight.shape[0], *_output_size(size, stride, padding))


@_narrow_backward.register_fake
def _(grad, input, weight, displacement, sigma, *options):  # type: ignore[no-untyped-def]
    tensors = zip((input, weight, displacement), options[-1], strict=True)
    return tuple(t.new_empty(t.shape) if need else grad.new_empty(0) for t, need in tensors)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _autograd(ctx, grad):  # type: ignore[no-untyped-def]
    return _gradients(ctx, grad, _narrow_backward)


def _gradients(ctx, grad, backward):  # type: ignore[no-untyped-def]
    input, weight, displacement, sigma, bias = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[:5])
    if needed[3] or not _here(input):  # a learned sigma that all units share
        options = *ctx.options[:3], "bilinear", *ctx.options[3:]
        tensors = input, weight, displacement, sigma, bias
        grads = torch.ops.torchdau.spectral_backward(grad, *tensors, *options, grad.new_empty(0), needed)
    else:
        grads = backward(grad, input, weight, displacement, sigma, *ctx.options, needed[:3])
        d_bias = grad.sum((0, 2, 3), dtype=torch.float32).to(grad.dtype) if needed[4] else None
        grads = *grads, None, d_bias
    return *(g if need else None for g, need in zip(grads, needed, strict=True)), *[None] * len(ctx.options)


def _no_second_derivative(ctx, *grads):  # type: ignore[no-untyped-def]
    raise NotImplementedError(
        'algorithm must be "dense" or "reference" for the gradient of a gradient, got "direct". '
        'Pass algorithm="dense" to the layer or function that is differentiated twice.'
    )


_narrow.register_autograd(_autograd, setup_context=_setup_context)
_narrow_backward.register_autograd(_no_second_derivative)


class _Eager(torch.autograd.Function):
    """The same where nobody looks on: without the time of a registered operator, much of that of a small layer."""

    @staticmethod
    def forward(ctx, *arguments):  # type: ignore[no-untyped-def]
        _setup_context(ctx, arguments, None)
        return _forward(*arguments)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        # with a graph of the gradient, the operator, which says that there is none
        return _gradients(ctx, grad, _narrow_backward if torch.is_grad_enabled() else _backward)
