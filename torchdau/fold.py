"""Unit layers to plain convolutions of equal output: for places without torchdau."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from torchdau.arguments import sides
from torchdau.conv import DAUConv2d
from torchdau.surgery import replace_, unit_layers

Model = TypeVar("Model", bound=nn.Module)


def fold_(model: Model) -> Model:
    """Replaces the unit layers of a model by plain convolutions of equal output, which need no torchdau.

    The kernels are as large as the units reach, so they cost more time than the units.

    Args:
        model: the model; modules inside of it are replaced.

    Returns:
        ``model``.

    Raises:
        ValueError: there are no unit layers.

    Example:
        >>> torchdau.fold_(nn.Sequential(torchdau.DAUConv2d(3, 8)))[0].padding_mode
        'zeros'
    """
    return replace_(model, {layer: _folded(layer) for layer in unit_layers(model)})


@torch.no_grad()
def _folded(layer: DAUConv2d) -> nn.Conv2d:
    kernel, first = layer.kernel(), layer.profile.first
    extra, windows = sides("padding", layer.padding), []
    for axis, (before, after) in enumerate(extra):
        used = kernel.abs().amax([d for d in range(4) if d != axis + 2]).nonzero().flatten() + first
        low, high = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        # The window low..high, in pixels from the units' origin, must need the same padding on both sides, and no crop.
        high = max(high, before - after - low, -after)
        windows.append((before - after - high, high, after + high))
    (top, bottom, pad_y), (left, right, pad_x) = windows
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (bottom - top + 1, right - left + 1),
        layer.stride,
        (pad_y, pad_x),
        groups=layer.groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,  # type: ignore[arg-type]
        device=kernel.device,
        dtype=layer.weight.dtype,
    )
    conv.weight.copy_(_window(_window(kernel, 2, top - first, bottom - first), 3, left - first, right - first))
    conv.weight.requires_grad_(layer.weight.requires_grad)
    if layer.bias is not None and conv.bias is not None:
        conv.bias.copy_(layer.bias).requires_grad_(layer.bias.requires_grad)
    return conv.train(layer.training)


def _window(kernel: Tensor, axis: int, low: int, high: int) -> Tensor:
    """Positions low..high of an axis, zero where it has none."""
    size = kernel.shape[axis]
    index = torch.arange(low, high + 1, device=kernel.device)
    inside = (index >= 0) & (index < size)
    shape = [-1 if d == axis else 1 for d in range(4)]
    return kernel.index_select(axis, index.clamp(0, size - 1)) * inside.view(shape)
