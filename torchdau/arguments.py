"""What the arguments of the operator and the layer must be: errors that name argument, value and remedy."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn import Module, Parameter
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from torchdau.profile import MAX_SIGMA

SMALLEST_SIGMA = 0.01
"""Smallest fixed width in pixels: a unit is one pixel from about 0.1 down, and float32 has the square of this."""

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_model(model: Any) -> None:
    """Raises unless ``model`` is a module."""
    if not isinstance(model, Module):
        given = repr(model) if isinstance(model, str) else f"a {type(model).__name__}"
        raise TypeError(f"model must be a torch.nn.Module, got {given}. Pass the model itself.")


def check_option(name: str, value: Any, options: Sequence[str]) -> None:
    """Raises unless ``value`` is one of ``options``."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {name}={value!r}.")


def check_integer(name: str, value: Any, minimum: int | None = None) -> None:
    """Raises unless ``value`` is an integer, at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int | torch.SymInt):
        raise TypeError(f"{name} must be an integer, got {name}={value!r}.")
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {name}={value}.")


def check_number(name: str, value: Any, minimum: float, maximum: float) -> None:
    """Raises unless ``value`` is a number of pixels within the two bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of pixels, got {name}={value!r}.")
    if not minimum <= value <= maximum:
        raise ValueError(f"{name} must be between {minimum} and {maximum} pixels, got {name}={value}.")


def check_sigma(sigma: Any) -> None:
    """Raises unless ``sigma`` is a usable width for all units."""
    check_number("sigma", sigma, SMALLEST_SIGMA, MAX_SIGMA)


def pair(name: str, value: Any, minimum: int | None = None) -> tuple[int, int]:
    """``value`` for both axes, checked."""
    if type(value) is tuple and [*map(type, value)] == [int, int] and (minimum is None or min(value) >= minimum):
        return value  # as nearly always
    values: Any = (value, value) if isinstance(value, int | torch.SymInt) else value
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 2:
        raise TypeError(f"{name} must be an integer or a pair of integers (y, x), got {name}={value!r}.")
    y, x = values
    for each in (y, x):
        check_integer(name, each, minimum)
    return y, x


Sides = tuple[tuple[int, int], tuple[int, int]]
"""Numbers of pixels at the four sides of an image: ((top, bottom), (left, right))."""


def sides(name: str, value: Any) -> Sides:
    """``value`` for all sides, for both of each axis (y, x), or for each one, checked."""
    axes: Any = (value, value) if isinstance(value, int | torch.SymInt) else value
    if not isinstance(axes, Sequence) or isinstance(axes, str) or len(axes) != 2:
        raise TypeError(
            f"{name} must be an integer, a pair of integers (y, x) or two pairs ((top, bottom), (left, right)), "
            f"got {name}={value!r}."
        )
    for axis in axes:
        if not isinstance(axis, int | torch.SymInt) and (not isinstance(axis, Sequence) or len(axis) != 2):
            raise TypeError(f"{name} must have an integer or a pair of integers for each axis, got {name}={value!r}.")
    y, x = (pair(name, axis) for axis in axes)
    return y, x


def check_input(input: Any) -> None:
    """Raises unless ``input`` is a batch of images or one."""
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a tensor, got input of type {type(input).__name__}.")
    if input.ndim not in (3, 4):
        raise ValueError(f"input must be (N, C, H, W) or (C, H, W), got input of shape {tuple(input.shape)}.")


def check_tensors(input: Any, weight: Any, displacement: Any, sigma: Any, bias: Any, groups: int) -> None:
    """Raises unless the tensors of the operator fit together; under autocast their types may differ."""
    check_input(input)
    tensors = {"input": input, "weight": weight, "displacement": displacement}
    if isinstance(sigma, Tensor):
        tensors["sigma"] = sigma
    if bias is not None:
        tensors["bias"] = bias
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, got {name} of type {type(tensor).__name__}.")
        if tensor.dtype not in FLOATS:
            raise TypeError(f"{name} must be of a real floating-point type, got {name} of {tensor.dtype}. Convert it.")
        if tensor.device != input.device:
            raise ValueError(
                f"{name} must be on the device of the input, got {name} on {tensor.device} for input on "
                f"{input.device}. Move one of them with .to()."
            )
    if weight.ndim != 3 or 0 in weight.shape:
        raise ValueError(
            f"weight must be (O, I, K) with no size of 0, got weight of shape {tuple(weight.shape)}. "
            "O are output channels, I input channels of one group, K units."
        )
    _check_shape("displacement", displacement, (*weight.shape, 2), "weight", weight)
    if isinstance(sigma, Tensor) and sigma.ndim:
        _check_shape("sigma", sigma, tuple(weight.shape), "weight", weight)
    if bias is not None:
        _check_shape("bias", bias, (weight.shape[0],), "weight", weight)
    if weight.shape[0] % groups:
        raise ValueError(f"groups must divide the output channels, got groups={groups} for {weight.shape[0]} of them.")
    if input.shape[-3] != weight.shape[1] * groups:
        raise ValueError(
            f"input must have {weight.shape[1] * groups} channels, got {input.shape[-3]} channels for weight of shape "
            f"{tuple(weight.shape)} and groups={groups}."
        )
    for name in ("weight", "bias"):
        if name in tensors and tensors[name].dtype != input.dtype and not under_autocast(input):
            raise TypeError(
                f"{name} must be of the type of the input, got {name} of {tensors[name].dtype} for input of "
                f"{input.dtype}. Convert one of them with .to()."
            )


def check_output_size(input: Tensor, padding: Sides) -> None:
    """Raises unless every axis has a pixel after padding; a negative one crops."""
    for axis, size, (before, after) in zip("HW", input.shape[-2:], padding, strict=True):
        if size < 1 or size + before + after < 1:
            shown = before if before == after else (before, after)
            raise ValueError(
                f"input must have at least 1 pixel per axis after padding, got {axis}={size} for padding={shown}."
            )


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], other: str, fits: Tensor) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(
            f"{name} must be of shape {tuple(shape)}, got {name} of shape {tuple(tensor.shape)} for {other} of shape "
            f"{tuple(fits.shape)}."
        )


def under_autocast(input: Tensor) -> bool:
    """Whether autocast chooses the type in which the input is convolved."""
    return input.dtype != torch.float64 and is_autocast_enabled(input)


def is_autocast_enabled(input: Tensor) -> bool:
    """Whether autocast is on for the device of a tensor; PyTorch would raise for the one that has no pixels."""
    return not input.is_meta and torch.is_autocast_enabled(input.device.type)


def is_observed(*tensors: Tensor | None) -> bool:
    """Whether something must see operators: a compiler, an export, a trace, a dispatch mode, a subclass, a fake."""
    if torch.compiler.is_compiling() or torch._C._is_tracing() or is_in_torch_dispatch_mode():
        return True
    return any(type(t) not in (Tensor, Parameter) or t.is_meta for t in tensors if t is not None)


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Whether a result of these tensors will be differentiated."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def is_exporting() -> bool:
    """Whether torch.export is at work; what PyTorch 2.10 and 2.11 say for it is true of torch.compile too."""
    return torch.compiler._is_exporting_flag


def under_transform(*tensors: Tensor) -> bool:
    """Whether a transform of torch.func is at work, or forward-mode differentiation of one of the tensors."""
    if torch.compiler.is_compiling():
        return False
    transforms: bool = torch._C._are_functorch_transforms_active()
    return transforms or any(unpack_dual(tensor).tangent is not None for tensor in tensors)


def is_channels_last(input: Tensor) -> bool:
    """Whether a batch of images has its channels side by side in memory, and not just one of them."""
    return input.stride(1) == 1 and input.shape[1] > 1 and input.shape[2] * input.shape[3] > 1
