"""One call of the spectral algorithm: its tensors by groups, its tiles, and room for its gradients."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchdau.algorithms.spectral.planning import plan
from torchdau.algorithms.spectral.tiling import output_size
from torchdau.profile import Profile


class Layer(NamedTuple):
    """What is computed; see :mod:`torchdau.algorithms`."""

    input: Tensor
    weight: Tensor
    displacement: Tensor
    sigma: Tensor
    bias: Tensor | None
    stride: Sequence[int]
    padding: Sequence[int]
    groups: int
    profile: Profile


class Call:
    """The tensors of one call, by groups, and how its images are cut.

    Shapes: input (N, G, I, H, W), weight (G, O, I, K); a piece of the output channels has P = G * O * I pairs.
    """

    longest: float = math.inf
    """Pixels that a transform may have."""

    def __init__(self, layer: Layer) -> None:
        input, weight, displacement, sigma, bias, stride, padding, groups, profile = layer
        self.dtype = torch.promote_types(input.dtype, torch.float32)
        self.profile = profile
        self.groups = groups
        self.tensors = input, weight, displacement, sigma, bias
        self.input = self.by_groups(input, 1)
        self.weight = self.by_groups(weight, 0)
        self.displacement = self.by_groups(displacement, 0)
        self.sigma = self.by_groups(sigma, 0) if sigma.ndim else sigma
        self.n, _, self.i, *size = self.input.shape
        _, self.o, _, self.k = self.weight.shape
        axes = tuple(zip(size, stride, padding, strict=True))
        self.output_size = [output_size(*axis) for axis in axes]
        shape = self.n, groups, self.i, self.o, self.k
        self.y, self.x = plan(*shape, axes, profile.first, profile.last, self.longest)

    def by_groups(self, tensor: Tensor, axis: int) -> Tensor:
        """A view with the channels of ``axis`` as (groups, channels of a group)."""
        return tensor.unflatten(axis, (self.groups, -1))

    def units(self, channels: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Weight (K, P), displacement (2, K, P) and sigma, (K, P) or a scalar, of some output channels."""
        weight = self.weight[:, channels].permute(3, 0, 1, 2).flatten(1)
        displacement = self.displacement[:, channels].permute(4, 3, 0, 1, 2).flatten(2)
        sigma = self.sigma[:, channels].permute(3, 0, 1, 2).flatten(1) if self.sigma.ndim else self.sigma
        return weight.to(self.dtype), displacement, sigma

    def room(self, needed: Sequence[bool]) -> list[Tensor]:
        """Zeros to sum gradients in, of input, weight, displacement and sigma; empty for what is not needed."""
        return [
            torch.zeros_like(total, dtype=torch.promote_types(total.dtype, torch.float32))
            for total in room_for_gradients(self.tensors[:4], needed)
        ]

    def add_unit_gradients(self, totals: Sequence[Tensor], grads: Sequence[Tensor], channels: slice) -> None:
        """Adds gradients in the shapes of :meth:`units` to those of weight, displacement and sigma."""
        for total, grad in zip(totals, grads, strict=True):
            if total.ndim == 0:
                total += grad.sum()
            elif total.numel():
                target = self.by_groups(total, 0)[:, channels]
                lead = grad.ndim - 1
                order = *range(lead, lead + 3), *reversed(range(lead))
                target += grad.unflatten(-1, target.shape[:3]).permute(order)

    def cast(self, totals: Sequence[Tensor]) -> list[Tensor]:
        """The gradients in the types of what they are gradients of."""
        return [total.to(t.dtype) for total, t in zip(totals, self.tensors[:4], strict=True) if t is not None]


def room_for_gradients(tensors: Sequence[Tensor | None], needed: Sequence[bool]) -> list[Tensor]:
    """Room for a gradient of each tensor, empty for those that are not needed; the first tensor is there."""
    first = tensors[0]
    assert first is not None
    return [
        torch.empty_like(t, memory_format=torch.contiguous_format) if need and t is not None else first.new_empty(0)
        for t, need in zip(tensors, needed, strict=True)
    ]


def slices(total: int, size: int) -> list[slice]:
    """The range 0..total in slices of about ``size`` or less, at least 1; multiples of 16 are fast."""
    each = -(-total // -(-total // max(size, 1))) if total else 1
    if 16 < each < total:
        each += -each % 16
    return [slice(start, min(start + each, total)) for start in range(0, total, each)]
