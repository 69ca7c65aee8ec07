"""Conversion of unit layers to plain convolutions of equal output, for deployment without torchdau installed."""

import logging

import torch
import torch.nn.functional as F
from torch import nn

from torchdau.algorithms.dense import MOST_NUMBERS
from torchdau.arguments import sides
from torchdau.conv import DAUConv2d
from torchdau.surgery.replace import Model, replace_, unit_layers

Windows = list[tuple[int, int, int]]

logger = logging.getLogger("torchdau")


def fold_(model: Model) -> Model:
    """Replace the unit layers of a model by plain convolutions of equal output, which need no torchdau.

    The kernels are as large as the units reach, so they cost more memory and time than the units. The logger "torchdau"
    reports their number of parameters as a warning.

    Args:
        model: the model, changed in place.

    Returns:
        ``model``.

    Raises:
        ValueError: the model has no unit layers, or a kernel would be too large.

    Example:
        >>> torchdau.fold_(nn.Sequential(torchdau.DAUConv2d(3, 8)))[0].padding_mode
        'zeros'
    """
    unit_layers(model)
    layers = {layer: name for name, layer in model.named_modules() if isinstance(layer, DAUConv2d)}
    windows = {layer: _windows(layer) for layer in layers}
    before = sum(parameter.numel() for layer in layers for parameter in layer.parameters())
    after = sum(_numbers(layer, windows[layer]) for layer in layers)
    logger.warning("folding %d unit layers to kernels: %d parameters become %d", len(layers), before, after)
    return replace_(model, {layer: _folded(layer, name, windows[layer]) for layer, name in layers.items()})


@torch.no_grad()
def _windows(layer: DAUConv2d) -> Windows:
    """Return the first and last position of a layer's kernel, and its padding, along both axes."""
    layer.clip_parameters_()
    windows = []
    for axis, (before, after) in enumerate(sides("padding", layer.padding)):
        low, high = _used(layer, axis)
        # The window low..high, in pixels from the units' origin, must need the same padding on both sides, and no crop.
        high = max(high, before - after - low, -after)
        windows.append((before - after - high, high, after + high))
    return windows


def _numbers(layer: DAUConv2d, windows: Windows) -> int:
    """Count the numbers in a layer's kernel, without its bias."""
    rows, columns = (last - first + 1 for first, last, _ in windows)
    return layer.out_channels * (layer.in_channels // layer.groups) * rows * columns


@torch.no_grad()
def _folded(layer: DAUConv2d, name: str, windows: Windows) -> nn.Conv2d:
    first, last = layer.profile.first, layer.profile.last
    (top, bottom, pad_y), (left, right, pad_x) = windows
    size = bottom - top + 1, right - left + 1
    numbers = _numbers(layer, windows)
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"model must have layers whose kernels have at most {MOST_NUMBERS} numbers, got {numbers} in {name!r}, "
            f"whose units reach over {size[0]} x {size[1]} pixels. Keep the units, or lower max_displacement."
        )
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        size,
        layer.stride,
        (pad_y, pad_x),
        groups=layer.groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,  # type: ignore[arg-type]
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )
    # The convolution's window may go beyond the profile's window, where the kernel is zero.
    rows, columns = (slice(max(low - first, 0), max(high - first + 1, 0)) for low, high, _ in windows)
    margins = (n for low, high, _ in reversed(windows) for n in (max(first - low, 0), max(high - last, 0)))
    conv.weight.copy_(F.pad(layer.kernel(rows, columns), tuple(margins)))
    conv.weight.requires_grad_(layer.weight.requires_grad)
    if layer.bias is not None and conv.bias is not None:
        conv.bias.copy_(layer.bias).requires_grad_(layer.bias.requires_grad)
    return conv.train(layer.training)


def _used(layer: DAUConv2d, axis: int) -> tuple[int, int]:
    """Return the first and last position along an axis, in pixels, that a unit with a nonzero weight reads."""
    weight, displacement, sigma = layer.units()
    sigma = torch.as_tensor(sigma, dtype=displacement.dtype, device=displacement.device)
    samples = layer.profile.value(displacement[..., axis], sigma) * (weight != 0)
    positions = samples.flatten(1).any(1).nonzero().flatten() + layer.profile.first
    return (int(positions[0]), int(positions[-1])) if len(positions) else (0, 0)
