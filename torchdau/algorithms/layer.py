"""What calls with tensors of the same shapes and types share."""

from collections.abc import Sequence
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor

from torchdau.profile import Profile


class Layer(NamedTuple):
    """All that an algorithm can know of a call but the values of its tensors.

    Attributes:
        input: shape of the images (N, C, H, W).
        weight: shape of the amplitudes (O, I, K).
        stride: input pixels between two outputs, per axis.
        padding: zeros before and after each axis; a negative padding crops.
        groups: groups of channels.
        profile: form of the units.
        dtype: type of the images.
        device: device of the images.
        shared: whether all units have one sigma.
    """

    input: tuple[int, int, int, int]
    weight: tuple[int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    profile: Profile
    dtype: torch.dtype
    device: torch.device
    shared: bool

    @classmethod
    def of(
        cls,
        input: Tensor,
        weight: Tensor,
        sigma: Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        groups: int,
        profile: Profile,
    ) -> Self:
        """Return what is known of a call; see :mod:`torchdau.algorithms` for the arguments."""
        images = cast("tuple[int, int, int, int]", tuple(input.shape))
        units = cast("tuple[int, int, int]", tuple(weight.shape))
        axes = (stride[0], stride[1]), (padding[0], padding[1])
        return cls(images, units, *axes, groups, profile, input.dtype, input.device, not sigma.ndim)

    @property
    def output(self) -> tuple[int, int, int, int]:
        """Shape of the output (N, O, H_out, W_out)."""
        (n, _, height, width), (o, _, _) = self.input, self.weight
        (down, right), (top, left) = self.stride, self.padding
        return n, o, output_size(height, down, top), output_size(width, right, left)


def output_size(size: int, stride: int, padding: int) -> int:
    """Return the pixels of the output along an axis, as for a 1 x 1 convolution."""
    return (size + 2 * padding - 1) // stride + 1
