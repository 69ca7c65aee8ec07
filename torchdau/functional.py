"""The operator as a function: it checks its arguments, chooses an algorithm and calls it; nothing numeric."""

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from torchdau.algorithms import ALGORITHMS, choose, direct
from torchdau.algorithms.layer import Layer
from torchdau.arguments import (
    check_integer,
    check_number,
    check_option,
    check_output_size,
    check_sigma,
    check_tensors,
    is_autocast_enabled,
    is_channels_last,
    is_exporting,
    is_exporting_to_onnx,
    needs_gradient,
    pair,
    sides,
    under_transform,
)
from torchdau.bounds import bounded
from torchdau.profile import (
    DISPLACEMENT_GRADIENTS,
    INTERPOLATIONS,
    MAX_DISPLACEMENT,
    MAX_SIGMA,
    MIN_SIGMA,
    Profile,
)


def dau_conv2d(
    input: Tensor,
    weight: Tensor,
    displacement: Tensor,
    sigma: float | Tensor = 0.5,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | Sequence[Sequence[int]] = 0,
    groups: int = 1,
    max_displacement: float | None = None,
    max_sigma: float | None = None,
    interpolation: str = "bilinear",
    displacement_gradient: str = "smooth",
    algorithm: str = "auto",
) -> Tensor:
    r"""Convolve images with filters made of displaced aggregation units.

    The filter between input channel i and output channel o is a sum of K units. Each unit is a Gaussian of amplitude
    ``weight`` (the paper's :math:`w_k`), displacement ``displacement`` (:math:`\mu_k`) and width ``sigma``
    (:math:`\sigma_k`, the aggregation perimeter). As in every convolution of PyTorch, a unit at displacement (y, x)
    *reads* the input y pixels below and x pixels right of the output. Outside the image the input is zero.

    Args:
        input: images; (C, H, W) is one image, as in :func:`torch.nn.functional.conv2d`.
        weight: amplitudes of the units, of the type of the input.
        displacement: positions of the units in pixels of the input, last axis (y, x), positive down and to the right.
            They are computed in float32 or better, whatever the type of the input.
        sigma: width of the Gaussians in pixels: a number or scalar tensor for all units, or one value for each.
            Default: 0.5, as in the paper (section 4.1).
        bias: one number per output channel.
        stride: pixels of the input between two outputs, for both axes or (y, x).
        padding: zeros added around the image: for both axes, (y, x), or ((top, bottom), (left, right)). Default: 0,
            which keeps the image size at stride 1, because a unit layer has no kernel size. Negative padding removes
            outputs at the border, but units still read the whole image.
        groups: groups of channels that are convolved separately, as in :func:`torch.nn.functional.conv2d`.
        max_displacement: bound of the displacements in pixels. Larger values count as the bound and pass the gradient
            through, so that a unit at the bound can come back. Default: None, which takes the bound from the values.
            Reading them waits for a GPU, and cannot be compiled or exported: give a bound there.
        max_sigma: bound of a tensor ``sigma`` in pixels; values are kept between 0.1 and this bound. It sets the size
            of the sampled Gaussian, ``2 * ceil(3 * max_sigma) + 1``. Default: None, which takes the bound from the
            values. A number ``sigma`` is its own bound.
        interpolation: ``"bilinear"`` is the paper's efficient form, a Gaussian at the whole pixel, shifted by bilinear
            interpolation. ``"gaussian"`` is its general form, the Gaussian drawn at the sub-pixel position.
        displacement_gradient: gradient of the bilinear form. ``"smooth"``, the paper's, samples the derivative of the
            Gaussian; ``"exact"`` is the derivative of the output. The Gaussian form has its true derivative.
        algorithm: ``"auto"`` chooses by shapes, and takes plain operators in an export to ONNX. ``"spectral"``,
            ``"direct"``, ``"dense"`` and ``"reference"`` select one. ``"direct"`` computes float32 and below. On a CPU,
            it needs the bilinear form and one sigma for more than 16 channels in a group. On a GPU, it needs the
            bilinear form and at most 4 channels in a group. All compute the same, except for NaN or infinite *pixels*.
            With ``"spectral"`` such a pixel spoils all outputs in its tile of the image, otherwise the outputs that
            read near it.

    Shape:
        - input: (N, C, H, W) or (C, H, W)
        - weight: (O, C / groups, K)
        - displacement: (O, C / groups, K, 2)
        - sigma: () or (O, C / groups, K)
        - bias: (O,)
        - output: (N, O, H_out, W_out) or (O, H_out, W_out) with ``H_out = (H + top + bottom - 1) // stride + 1``, as
          for a 1 x 1 convolution

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument's value or shape does not fit; the message names the argument and the remedy.
        NotImplementedError: ``algorithm`` is ``"spectral"`` or ``"direct"`` under torch.func or forward-mode
            differentiation.

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
    (top, bottom), (left, right) = margins = sides("padding", padding)
    check_integer("groups", groups, minimum=1)
    check_tensors(input, weight, displacement, sigma, bias, groups)
    batched = input if input.ndim == 4 else input.unsqueeze(0)
    check_output_size(batched, margins)

    displacement = _precise(displacement)
    if max_displacement is None:
        max_displacement = _largest("displacement", displacement, MAX_DISPLACEMENT)
    else:
        check_number("max_displacement", max_displacement, 0, MAX_DISPLACEMENT)
        displacement = bounded(displacement, -max_displacement, max_displacement)
    if max_sigma is not None:
        check_number("max_sigma", max_sigma, MIN_SIGMA, MAX_SIGMA)
    if isinstance(sigma, Tensor):
        sigma = sigma.to(displacement.dtype)
        if max_sigma is None:
            max_sigma = max(_largest("sigma", sigma, MAX_SIGMA, positive=True), MIN_SIGMA)
        sigma = bounded(sigma, MIN_SIGMA, max_sigma)
    else:
        check_sigma(sigma)
        max_sigma = sigma
        sigma = torch.full((), sigma, dtype=displacement.dtype, device=displacement.device)
    profile = Profile(interpolation, displacement_gradient, float(max_displacement), float(max_sigma))

    device, autocast = input.device.type, is_autocast_enabled(input)
    if autocast and input.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        batched, weight = batched.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    transformed = under_transform(batched, weight, displacement, sigma, *([] if bias is None else [bias]))
    if transformed and algorithm in ("spectral", "direct"):
        raise NotImplementedError(
            'algorithm must be "dense" or "auto" for torch.func and for forward-mode differentiation, got '
            f"algorithm={algorithm!r}. Pass another to the layer or function that is transformed."
        )
    channels_last, uneven = is_channels_last(batched), (top, left) != (bottom, right)
    if uneven:
        height = (batched.shape[2] + top + bottom - 1) // stride[0] + 1
        width = (batched.shape[3] + left + right - 1) // stride[1] + 1
        batched = F.pad(batched, (0, max(right - left, 0), 0, max(bottom - top, 0)))
    layer = Layer.of(batched, weight, sigma, stride, (top, left), groups, profile)
    if algorithm == "direct" and (reason := direct.unsuitable(layer)):
        raise ValueError(f'algorithm="direct" {reason}. Take "auto", which chooses an algorithm that serves.')
    options: dict[str, bool] = {}
    if algorithm == "auto" and (transformed or is_exporting_to_onnx(batched)):
        algorithm = "dense"
    elif algorithm == "auto" and is_exporting():
        algorithm = "spectral"  # for all sizes, because they may be dynamic
    elif algorithm == "auto":
        algorithm, backward = choose(layer, needs_gradient(batched, weight, displacement, sigma, bias))
        options = {"spectral_backward": True} if backward != algorithm else {}
    with torch.autocast(device, enabled=False) if autocast else nullcontext():
        output: Tensor = ALGORITHMS[algorithm].dau_conv2d(
            batched,
            weight,
            displacement,
            sigma,
            bias,
            stride=stride,
            padding=(top, left),
            groups=groups,
            profile=profile,
            **options,
        )
    if uneven:
        output = output[..., :height, :width]
    if channels_last:
        output = output.contiguous(memory_format=torch.channels_last)
    return output if input.ndim == 4 else output.squeeze(0)


def _precise(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 or better."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _largest(name: str, tensor: Tensor, limit: int, positive: bool = False) -> float:
    """Read the values of a tensor and return the bound that they need."""
    if tensor.is_meta or torch.compiler.is_compiling():
        raise ValueError(
            f"max_{name} must be given where {name} has no values to read (on the meta device, compiled, exported), "
            f"got max_{name}=None. Give a bound in pixels."
        )
    low, high = (float(v) for v in torch.aminmax(tensor.detach()))
    largest = max(-low, high)
    if not math.isfinite(largest):
        raise ValueError(f"{name} must be finite, got values from {low} to {high}. Mend {name}, or lower its rate.")
    if positive and low <= 0:
        raise ValueError(f"{name} must be above 0 pixels, got values from {low} to {high}.")
    if largest > limit:
        raise ValueError(f"{name} must be at most {limit} pixels, got values from {low} to {high}.")
    return largest
