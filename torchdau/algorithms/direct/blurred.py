"""Unit by unit on blurred images: for one or a few small images, and for pruned layers."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchdau.algorithms.direct import elsewhere
from torchdau.algorithms.direct.arguments import layer_of, output_shape, prepared, runs_here
from torchdau.algorithms.registered import Operator
from torchdau.kernels import call
from torchdau.profile import Profile

PLANES = 64 << 20
"""Bytes that blurred images may take; more are worked through in pieces of images."""

CACHED = 4 << 20
"""Pixels of blurred images that stay in a cache."""

IMAGES = 16
"""Blurred images among which the kernel finds pixels by 32-bit numbers."""


def cost(
    n: int, groups: int, i: int, o: int, k: int, size: tuple[int, int], stride: tuple[int, int], window: int
) -> float:
    """Return the multiply-adds of a forward pass; what runs slower counts by its time."""
    rows, columns = size[0] + 2 * (-(-size[0] // 14)), 16 * (-(-size[1] // 15))  # as they are computed
    plane = (size[0] * stride[0] + window) * (size[1] * stride[1] + window)
    each = 3.4 if max(stride) == 1 else 12
    blur = 60 if groups * i * n * plane < CACHED else 130
    return groups * i * n * (o * k * rows * columns * each + blur * plane) + 1e7


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
    shape = output_shape(input, weight, stride, padding)
    bound = profile.reach - profile.radius
    lines = [p * t + 2 * profile.reach + 64 for p, t in zip(shape[2:], stride, strict=True)]
    if not runs_here(input) or math.prod(lines) * IMAGES >= 1 << 31:  # or a huge bound
        tensors = input, weight, displacement, sigma, bias
        return elsewhere.forward(*tensors, stride, padding, groups, *profile.options[1:])
    layer = layer_of(input, weight, stride, padding, groups, profile)
    rows, columns = (shape[2] - 1) * stride[0] + 2 * bound + 2, shape[3] * stride[1] + 2 * bound + 64
    layer.planes = max(1, min(len(input), PLANES // (4 * input.shape[1] * rows * columns)))
    output = torch.empty(shape, dtype=torch.float32, device="cpu")
    if len(input):
        call("direct_forward", layer, [*prepared(input, weight, displacement, sigma, bias), output])
    return output.to(input.dtype)


def _fake(input, weight, displacement, sigma, bias, stride, padding, *options):  # type: ignore[no-untyped-def]
    return input.new_empty(output_shape(input, weight, stride, padding))


def _gradients(
    observed: bool, grad: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], options: Any, needed: list[bool]
) -> Sequence[Tensor]:
    """Those of the spectral algorithm: they are sums over whole images, whatever computed the output."""
    return elsewhere.gradients(grad, tensors, options, needed)


compute = Operator("torchdau::blurred", _forward, _fake, _gradients)
