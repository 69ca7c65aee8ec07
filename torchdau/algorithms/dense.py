"""The filters drawn as one dense kernel, then a plain convolution: any device, twice differentiable, never fast."""

import torch
import torch.nn.functional as F
from torch import Tensor

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
    kernel = draw(weight, displacement, sigma, profile).to(input.dtype)
    # The window first..last may be longer at its end; conv2d pads both sides alike, and pads nothing negative.
    top, left = (p - profile.first for p in padding)
    longer = profile.last + profile.first
    crop_y, crop_x = min(top, 0), min(left, 0)
    if longer or crop_y or crop_x:
        input = F.pad(input, (crop_x, crop_x + longer, crop_y, crop_y + longer))
    return F.conv2d(input, kernel, bias, stride, (top - crop_y, left - crop_x), groups=groups)


def draw(weight: Tensor, displacement: Tensor, sigma: Tensor, profile: Profile) -> Tensor:
    """The filters as one dense kernel (O, I, S, S) for the S positions of the window along both axes."""
    y, x = (profile.value(mu, sigma) for mu in displacement.unbind(-1))
    return torch.einsum("oik,yoik,xoik->oiyx", weight.to(y.dtype), y, x)


def cost(
    n: int, groups: int, i: int, o: int, k: int, size: tuple[int, int], stride: tuple[int, int], window: int
) -> float:
    """Multiply-adds of a forward pass; drawing the kernel counts by its time, few channels as more."""
    return groups * window**2 * (n * size[0] * size[1] * max(i, 12) * max(o, 8) + 250 * i * o)
