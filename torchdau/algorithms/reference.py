"""The definition of docs/operator.md in plain loops: slow, but the truth; ``"auto"`` never chooses it."""

import torch
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
    """Compute the operator of docs/operator.md; see :mod:`torchdau.algorithms` for the arguments."""
    height, width = input.shape[2:]
    out_channels, in_channels, _ = weight.shape
    output = []
    for o in range(out_channels):
        first = o // (out_channels // groups) * in_channels  # the first input channel of the group
        images = input[:, first : first + in_channels]
        kernel = torch.stack([_filter(o, i, weight, displacement, sigma, profile) for i in range(in_channels)])
        for top in range(-padding[0], height + padding[0], stride[0]):
            for left in range(-padding[1], width + padding[1], stride[1]):
                # Take the pixels under the window; outside the image everything is zero.
                y = slice(max(top + profile.first, 0), max(min(top + profile.last + 1, height), 0))
                x = slice(max(left + profile.first, 0), max(min(left + profile.last + 1, width), 0))
                pixels = images[:, :, y, x]
                under = kernel[:, y.start - top - profile.first :, x.start - left - profile.first :]
                under = under[:, : pixels.shape[2], : pixels.shape[3]].to(input.dtype)
                output.append((pixels * under).sum((1, 2, 3)) + (0 if bias is None else bias[o]))
    size = (len(range(-p, s + p, t)) for p, s, t in zip(padding, (height, width), stride, strict=True))
    return torch.stack(output, 1).view(len(input), out_channels, *size)


def _filter(o: int, i: int, weight: Tensor, displacement: Tensor, sigma: Tensor, profile: Profile) -> Tensor:
    """Return the filter between two channels: a sum of units (2), each the product of two profiles (3)."""
    total = torch.zeros((), dtype=displacement.dtype, device=displacement.device)
    for k in range(weight.shape[2]):
        width = sigma[o, i, k] if sigma.ndim else sigma
        y, x = (profile.value(mu, width) for mu in displacement[o, i, k])
        total = total + weight[o, i, k] * y[:, None] * x
    return total
