"""One convolution as a unit layer of the same output size."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from torchdau import init as placements
from torchdau.arguments import Sides
from torchdau.conv import DAUConv2d
from torchdau.surgery.fitting import fit_units
from torchdau.surgery.replace import keep_kernel_size

SAME = ("Conv2dSame", "StdConv2dSame", "ScaledStdConv2dSame")
"""Classes of timm that pad their input themselves, so that the output has ceil(size / stride) pixels."""


class Pooled(nn.Sequential):
    """A max-pool with the stride of a convolution, followed by a layer of stride 1, as in the paper."""

    def __init__(self, stride: Sequence[int], layer: nn.Module) -> None:
        super().__init__(nn.MaxPool2d((stride[0], stride[1]), ceil_mode=True), layer)
        self.stride = stride[0], stride[1]


def to_units(
    conv: nn.Conv2d,
    num_units: int,
    init: str = "uniform",
    strides: str = "keep",
    bound: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Create the unit layer for a convolution, with the arguments of :func:`torchdau.convert_`."""
    padding, shifts = geometry(conv)
    steps = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    if bound is None:
        bound = max(4.0, *(step / 2 + 0.5 + abs(shift) for step, shift in zip(steps, shifts, strict=True)))
    pooled = strides == "max_pool" and conv.stride != (1, 1)
    layer = DAUConv2d(
        conv.in_channels,
        conv.out_channels,
        num_units=num_units,
        max_displacement=bound,
        stride=1 if pooled else conv.stride,
        padding=0 if pooled else padding,
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
        **(options or {}),
    )
    with torch.no_grad():
        for axis, (step, shift) in enumerate(zip(steps, shifts, strict=True)):
            placements.uniform_(layer.displacement[..., axis], step / 2 + 0.5).add_(shift).clamp_(-bound, bound)
        if init == "fit":
            reach = max(step / 2 + abs(shift) for step, shift in zip(steps, shifts, strict=True))
            if bound < reach:
                raise ValueError(
                    f"max_displacement must be at least the reach of the kernel for init='fit', got max_displacement="
                    f"{bound} for {reach} pixels. Leave it out to take the reach."
                )
            taps = (
                torch.arange(k, device=conv.weight.device) * d + int(shift - step / 2)
                for k, d, shift, step in zip(conv.kernel_size, conv.dilation, shifts, steps, strict=True)
            )
            fit_units(layer, conv.weight, (next(taps), next(taps)))
        if conv.bias is not None and layer.bias is not None:
            layer.bias.copy_(conv.bias)
    keep_kernel_size(layer, conv)
    layer.train(conv.training)
    return Pooled(conv.stride, layer).train(conv.training) if pooled else layer


def geometry(conv: nn.Conv2d) -> tuple[Sides, tuple[float, float]]:
    """Return the padding of a unit layer with the same output size, and the kernel's centre (y, x) from its origin."""
    padding, shifts = [], []
    for axis in range(2):
        reach, stride = conv.dilation[axis] * (conv.kernel_size[axis] - 1), conv.stride[axis]
        if type(conv).__name__ in SAME:  # the padding for a size that the stride divides
            total = after = max(reach + 1 - stride, 0)
            before, after, more = total // 2, total - total // 2, 0
        else:
            if isinstance(conv.padding, str):
                before = reach // 2 if conv.padding == "same" else 0
                after = reach - before if conv.padding == "same" else 0
            else:
                before = after = conv.padding[axis]
            more = before + after - reach
        start = -(-more // 2)
        padding.append((start, more - start))
        shifts.append(reach / 2 - before + start)
    return (padding[0], padding[1]), (shifts[0], shifts[1])
