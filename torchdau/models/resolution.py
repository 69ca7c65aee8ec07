"""Layers of a classification network for features of a higher resolution, as segmentation needs them."""

from collections.abc import Sequence
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from torchdau.conv import DAUConv2d
from torchdau.surgery import rescale_
from torchdau.surgery.replace import replace_
from torchdau.surgery.units import Pooled

Model = TypeVar("Model", bound=nn.Module)


def unpool_(model: Model) -> Model:
    """Remove the max-pools of :func:`torchdau.pool_strides_`; the layers behind them see a higher resolution.

    Returns:
        ``model``.
    """
    return replace_(model, {module: module[1] for module in model.modules() if isinstance(module, Pooled)})


def spread_(model: Model, factor: int) -> Model:
    """Make layers reach as far in an image as before when their features have a higher resolution.

    It scales the displacements of units and dilates convolutions.

    Args:
        model: a layer, or a model with some.
        factor: ratio of the new resolution to the old one.

    Returns:
        ``model``.

    Reference:
        Section 6.1 of the paper.
    """
    for module in model.modules():
        if isinstance(module, DAUConv2d):
            rescale_(module, factor)
        elif isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.dilation = module.dilation[0] * factor, module.dilation[1] * factor
            module.padding = int(module.padding[0]) * factor, int(module.padding[1]) * factor
    return model


def enlarge(features: Tensor, factor: int, size: Sequence[int]) -> Tensor:
    """Enlarge features bilinearly by exactly a factor, and cut off the pixels beyond the image.

    A network of stride 16 makes ``ceil(size / 16)`` features. Resizing these to ``size`` pixels would stretch them.

    Args:
        features: features of shape (N, C, H, W).
        factor: ratio of the new resolution to the old one.
        size: height and width of the result, at most ``factor`` times the size of the features.
    """
    height, width = size
    return F.interpolate(features, scale_factor=float(factor), mode="bilinear")[..., :height, :width]
