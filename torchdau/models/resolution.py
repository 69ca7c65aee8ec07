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
    """Takes out the max-pools of :func:`torchdau.pool_strides_`; what lies behind them works on, at higher resolution.

    Returns:
        ``model``.
    """
    return replace_(model, {module: module[1] for module in model.modules() if isinstance(module, Pooled)})


def spread_(model: Model, factor: int) -> Model:
    """Lets layers reach as far in an image as before where their features have a higher resolution.

    The displacements of units are scaled, and convolutions dilated by hand.

    Args:
        model: a layer, or a model with some.
        factor: how many times higher the resolution is.

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
    """Features at exactly so many times the resolution, bilinearly, without what lies beyond the image.

    A network of stride 16 makes ``ceil(size / 16)`` features. To bring these to ``size`` pixels would stretch them.

    Args:
        features: of shape (N, C, H, W).
        factor: how many times higher the resolution will be.
        size: height and width of the result, at most ``factor`` times those of the features.
    """
    height, width = size
    return F.interpolate(features, scale_factor=float(factor), mode="bilinear")[..., :height, :width]
