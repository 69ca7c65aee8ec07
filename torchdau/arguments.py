"""Checks of the arguments of the operator and the layer; errors name the argument, its value and the remedy."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Module, Parameter
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from torchdau.profile import MAX_SIGMA

SMALLEST_SIGMA = 0.01
"""Smallest fixed width in pixels: below about 0.1 a unit covers one pixel, and float32 can hold the square of 0.01."""

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_model(model: Any) -> None:
    """Raise TypeError unless ``model`` is a module."""
    if not isinstance(model, Module):
        given = repr(model) if isinstance(model, str) else f"a {type(model).__name__}"
        raise TypeError(f"model must be a torch.nn.Module, got {given}. Pass the model itself.")


def check_option(name: str, value: Any, options: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``options``."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {name}={value!r}.")


def check_integer(name: str, value: Any, minimum: int | None = None) -> None:
    """Raise an error unless ``value`` is an integer of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int | torch.SymInt):
        raise TypeError(f"{name} must be an integer, got {name}={value!r}.")
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {name}={value}.")


def check_number(name: str, value: Any, minimum: float, maximum: float) -> None:
    """Raise an error unless ``value`` is a number of pixels between ``minimum`` and ``maximum``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of pixels, got {name}={value!r}.")
    if not minimum <= value <= maximum:
        raise ValueError(f"{name} must be between {minimum} and {maximum} pixels, got {name}={value}.")


def check_sigma(sigma: Any) -> None:
    """Raise an error unless ``sigma`` is a valid fixed width in pixels for all units."""
    check_number("sigma", sigma, SMALLEST_SIGMA, MAX_SIGMA)


def pair(name: str, value: Any, minimum: int | None = None) -> tuple[int, int]:
    """Check ``value`` and return it for both axes (y, x)."""
    if type(value) is tuple and [*map(type, value)] == [int, int] and (minimum is None or min(value) >= minimum):
        return value  # the fast path of nearly all calls
    values: Any = (value, value) if isinstance(value, int | torch.SymInt) else value
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 2:
        raise TypeError(f"{name} must be an integer or a pair of integers (y, x), got {name}={value!r}.")
    y, x = values
    for each in (y, x):
        check_integer(name, each, minimum)
    return y, x


Sides = tuple[tuple[int, int], tuple[int, int]]
"""Pixels at the four sides of an image: ((top, bottom), (left, right))."""


def sides(name: str, value: Any) -> Sides:
    """Check ``value``, given for all sides, for each axis (y, x) or for each side, and return it for each side."""
    if type(value) is tuple and [*map(type, value)] == [int, int]:
        y, x = value
        return (y, y), (x, x)  # the fast path of nearly all calls
    axes: Any = (value, value) if isinstance(value, int | torch.SymInt) else value
    if not isinstance(axes, Sequence) or isinstance(axes, str) or len(axes) != 2:
        raise TypeError(
            f"{name} must be an integer, a pair of integers (y, x) or two pairs ((top, bottom), (left, right)), "
            f"got {name}={value!r}."
        )
    for axis in axes:
        if not isinstance(axis, int | torch.SymInt) and (not isinstance(axis, Sequence) or len(axis) != 2):
            raise TypeError(f"{name} must have an integer or a pair of integers for each axis, got {name}={value!r}.")
    return pair(name, axes[0]), pair(name, axes[1])


def check_input(input: Any) -> None:
    """Raise an error unless ``input`` is one image or a batch of images."""
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a tensor, got input of type {type(input).__name__}.")
    if input.layout is not torch.strided or input.is_nested:
        kind = "nested" if input.is_nested else str(input.layout).removeprefix("torch.")
        raise TypeError(f"input must be a dense tensor, got a {kind} one. Convert it, for instance with .to_dense().")
    if input.ndim not in (3, 4):
        raise ValueError(f"input must be (N, C, H, W) or (C, H, W), got input of shape {tuple(input.shape)}.")


def check_tensors(input: Any, weight: Any, displacement: Any, sigma: Any, bias: Any, groups: int) -> None:
    """Raise an error unless the tensors of the operator fit together; under autocast their types may differ."""
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
    _check_shape("displacement", displacement, (*weight.shape, 2), weight)
    if isinstance(sigma, Tensor) and sigma.ndim:
        _check_shape("sigma", sigma, weight.shape, weight)
    if bias is not None:
        _check_shape("bias", bias, weight.shape[:1], weight)
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
    """Raise ValueError unless every axis has a pixel after padding; negative padding crops."""
    for axis, size, (before, after) in zip("HW", input.shape[-2:], padding, strict=True):
        if size < 1 or size + before + after < 1:
            shown = before if before == after else (before, after)
            raise ValueError(
                f"input must have at least 1 pixel per axis after padding, got {axis}={size} for padding={shown}."
            )


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], weight: Tensor) -> None:
    if tensor.shape != shape:
        raise ValueError(
            f"{name} must be of shape {tuple(shape)}, got {name} of shape {tuple(tensor.shape)} for weight of shape "
            f"{tuple(weight.shape)}."
        )


def under_autocast(input: Tensor) -> bool:
    """Return whether autocast chooses the data type in which ``input`` is convolved."""
    return input.dtype != torch.float64 and is_autocast_enabled(input)


def is_autocast_enabled(input: Tensor) -> bool:
    """Return whether autocast is on for the device of a tensor; PyTorch would raise an error for the meta device."""
    return not input.is_meta and torch.is_autocast_enabled(input.device.type)


def is_observed(*tensors: Tensor | None) -> bool:
    """Return whether a compiler, export, trace, dispatch mode, subclass or fake tensor must see the operators."""
    if torch.compiler.is_compiling() or torch._C._is_tracing() or is_in_torch_dispatch_mode():
        return True
    return any(type(t) not in (Tensor, Parameter) or t.is_meta for t in tensors if t is not None)


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Return whether autograd will differentiate a result of these tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def is_exporting() -> bool:
    """Return whether torch.export runs; PyTorch 2.10 and 2.11 take torch.compile for it, but this flag does not."""
    return torch.compiler._is_exporting_flag


def is_exporting_to_onnx(input: Tensor) -> bool:
    """Return whether torch.onnx.export runs."""
    return is_observed(input) and torch.onnx.is_in_onnx_export()


def under_transform(*tensors: Tensor) -> bool:
    """Return whether a torch.func transform is active, or forward-mode differentiation of one of the tensors."""
    if torch.compiler.is_compiling():
        return False
    transforms: bool = torch._C._are_functorch_transforms_active()
    if transforms or forward_ad._current_level < 0:
        return transforms
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def is_channels_last(input: Tensor) -> bool:
    """Return whether a batch stores its channels side by side in memory, and has more than one of them."""
    return input.stride(1) == 1 and input.shape[1] > 1 and input.shape[2] * input.shape[3] > 1
