"""The operator as a function: checks its arguments, chooses an algorithm and calls it; nothing numeric."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from torchdau.algorithms import ALGORITHMS, choose
from torchdau.profile import DISPLACEMENT_GRADIENTS, INTERPOLATIONS, MAX_REACH, MIN_SIGMA, Profile, bounded

SMALLEST_SIGMA = 0.01
"""Smallest fixed width in pixels: a unit is one pixel from about 0.1 down, and float32 has the square of this."""

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def dau_conv2d(
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: float | Tensor = 0.5,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    max_displacement: float | None = None,
    max_sigma: float | None = None,
    interpolation: str = "bilinear",
    displacement_gradient: str = "smooth",
    algorithm: str = "auto",
) -> Tensor:
    r"""Convolves images with filters made of displaced aggregation units.

    The filter between input channel i and output channel o is a sum of K units: Gaussians of amplitude ``weight`` (the
    paper's :math:`w_k`), displacement ``displacement`` (:math:`\mu_k`) and width ``sigma`` (:math:`\sigma_k`, the
    aggregation perimeter). As in every convolution of PyTorch, a unit at displacement (y, x) *reads* the input y pixels
    below and x pixels to the right of the output's position; outside the image the input is zero.

    Args:
        input: images. (C, H, W) is taken as one image, like in :func:`torch.nn.functional.conv2d`.
        weight: amplitudes of the units, of the type of the input.
        displacement: positions of the units in pixels of the input, last axis (y, x), positive down and to the right.
            Computed in float32 or better, whatever the type of the input.
        sigma: width of the Gaussians in pixels: a number or scalar tensor for all units, or one for each. Default:
            0.5, the paper's (section 4.1).
        bias: one number per output channel.
        stride: pixels of the input between two outputs, for both axes or (y, x).
        padding: zeros added around the image, for both axes or (y, x). A unit layer has no kernel size, so the default
            0 keeps the size of the image at stride 1.
        groups: groups of channels that are convolved separately, as in :func:`torch.nn.functional.conv2d`.
        max_displacement: bound of the displacements in pixels. Values beyond it count as the bound, with the gradient
            passed through, so that a unit that reached it can come back. ``None`` takes the bound from the values,
            which on a GPU waits for them, and cannot be compiled or exported: give it there.
        max_sigma: bound of a tensor ``sigma`` in pixels; values are kept within 0.1 and it. ``None`` takes it from the
            values. It sets the size of the sampled Gaussian, ``2 * ceil(3 * max_sigma) + 1``; a number ``sigma`` is its
            own bound.
        interpolation: ``"bilinear"``, the paper's efficient form, a Gaussian at the whole pixel shifted by bilinear
            interpolation, or ``"gaussian"``, its general form, the Gaussian drawn at the sub-pixel position.
        displacement_gradient: of the bilinear form, ``"smooth"``, the paper's, which samples the derivative of the
            Gaussian, or ``"exact"``, the derivative of the output. The Gaussian form has its true derivative.
        algorithm: ``"auto"`` chooses by shapes; ``"spectral"``, ``"dense"`` and ``"reference"`` name one. All compute
            the same, but a NaN or infinite *pixel* spoils the outputs that read it with the other two, and all outputs
            of its tile of the image with ``"spectral"``.

    Shape:
        - input: (N, C, H, W) or (C, H, W)
        - weight: (O, C / groups, K)
        - displacement: (O, C / groups, K, 2)
        - sigma: () or (O, C / groups, K)
        - bias: (O,)
        - output: (N, O, H_out, W_out) or (O, H_out, W_out) with
          ``H_out = (H + 2 * padding - 1) // stride + 1``, that of a 1 x 1 convolution

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument's value or shape does not fit; the message names it and what to do.

    Reference:
        Tabernik, Kristan, Leonardis, Spatially-Adaptive Filter Units for Compact and Efficient Deep Neural Networks,
        IJCV 2020: equations (2) to (4) for the Gaussian form, (11) to (16) for the bilinear one.

    Example:
        >>> import torch, torchdau
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> weight, displacement = torch.ones(1, 1, 1), torch.tensor([[[[0.0, 1.0]]]])
        >>> torchdau.dau_conv2d(image, weight, displacement, sigma=0.05)  # reads one pixel to the right
        tensor([[[[ 1.,  2.,  3.,  0.],
                  [ 5.,  6.,  7.,  0.],
                  [ 9., 10., 11.,  0.],
                  [13., 14., 15.,  0.]]]])
    """
    check_option("interpolation", interpolation, INTERPOLATIONS)
    check_option("displacement_gradient", displacement_gradient, DISPLACEMENT_GRADIENTS)
    check_option("algorithm", algorithm, ("auto", *ALGORITHMS))
    stride = pair("stride", stride, minimum=1)
    padding = pair("padding", padding)
    check_integer("groups", groups, minimum=1)
    _check_tensors(input, weight, displacement, sigma, bias, groups)
    batched = input if input.ndim == 4 else input.unsqueeze(0)
    _check_output_size(batched, stride, padding)

    displacement = displacement.to(torch.promote_types(displacement.dtype, torch.float32))
    if max_displacement is None:
        max_displacement = _largest("displacement", displacement)
    else:
        check_number("max_displacement", max_displacement, 0, MAX_REACH)
        displacement = bounded(displacement, -max_displacement, max_displacement)
    if isinstance(sigma, Tensor):
        sigma = sigma.to(displacement.dtype)
        if max_sigma is None:
            max_sigma = max(_largest("sigma", sigma, positive=True), MIN_SIGMA)
        check_number("max_sigma", max_sigma, MIN_SIGMA, MAX_REACH)
        sigma = bounded(sigma, MIN_SIGMA, max_sigma)
    else:
        check_sigma(sigma)
        max_sigma = sigma
        sigma = torch.full((), sigma, dtype=displacement.dtype, device=displacement.device)
    profile = Profile(interpolation, displacement_gradient, float(max_displacement), float(max_sigma))
    if profile.reach > MAX_REACH:
        raise ValueError(
            f"max_displacement and sigma must reach at most {MAX_REACH} pixels together, got "
            f"max_displacement={max_displacement} and max_sigma={max_sigma}. Give displacements in pixels of the input."
        )

    device = input.device.type
    if _autocast(input):
        dtype = torch.get_autocast_dtype(device)
        batched, weight = batched.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    if algorithm == "auto":
        o, i, k = weight.shape
        height, width = ((s + 2 * p - 1) // t + 1 for s, p, t in zip(batched.shape[2:], padding, stride, strict=True))
        algorithm = choose(len(batched), groups, i, o // groups, k, (height, width), stride, profile.size)
    plain = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
    with plain:
        output: Tensor = ALGORITHMS[algorithm].dau_conv2d(
            batched, weight, displacement, sigma, bias, stride=stride, padding=padding, groups=groups, profile=profile
        )
    if batched.is_contiguous(memory_format=torch.channels_last) and not batched.is_contiguous():
        output = output.contiguous(memory_format=torch.channels_last)
    return output if input.ndim == 4 else output.squeeze(0)


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
    check_number("sigma", sigma, SMALLEST_SIGMA, MAX_REACH // 3)


def pair(name: str, value: Any, minimum: int | None = None) -> tuple[int, int]:
    """``value`` for both axes, checked."""
    values: Any = (value, value) if isinstance(value, int | torch.SymInt) else value
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 2:
        raise TypeError(f"{name} must be an integer or a pair of integers (y, x), got {name}={value!r}.")
    y, x = values
    for each in (y, x):
        check_integer(name, each, minimum)
    return y, x


def _check_tensors(input: Any, weight: Any, displacement: Any, sigma: Any, bias: Any, groups: int) -> None:
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
    if input.ndim not in (3, 4):
        raise ValueError(f"input must be (N, C, H, W) or (C, H, W), got input of shape {tuple(input.shape)}.")
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
        if name in tensors and tensors[name].dtype != input.dtype and not _autocast(input):
            raise TypeError(
                f"{name} must be of the type of the input, got {name} of {tensors[name].dtype} for input of "
                f"{input.dtype}. Convert one of them with .to()."
            )


def _autocast(input: Tensor) -> bool:
    device = input.device.type
    available = torch.amp.is_autocast_available(device) and input.dtype != torch.float64
    return available and torch.is_autocast_enabled(device)


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], other: str, fits: Tensor) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(
            f"{name} must be of shape {tuple(shape)}, got {name} of shape {tuple(tensor.shape)} for {other} of shape "
            f"{tuple(fits.shape)}."
        )


def _check_output_size(input: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> None:
    for axis, size, p in zip("HW", input.shape[2:], padding, strict=True):
        if size < 1 or size + 2 * p < 1:
            raise ValueError(
                f"input must have at least 1 pixel per axis after padding, got {axis}={size} for padding={p}."
            )


def _largest(name: str, tensor: Tensor, positive: bool = False) -> float:
    """The bound that the values need; reads them."""
    low, high = (float(v) for v in torch.aminmax(tensor.detach()))
    largest = max(-low, high)
    if not math.isfinite(largest):
        raise ValueError(f"{name} must be finite, got values from {low} to {high}. Mend {name}, or lower its rate.")
    if positive and low <= 0:
        raise ValueError(f"{name} must be above 0 pixels, got values from {low} to {high}.")
    if largest > MAX_REACH:
        raise ValueError(f"{name} must be at most {MAX_REACH} pixels, got values from {low} to {high}.")
    return largest
