"""Max-pools that take over the strides of convolutions, as in the paper."""

import copy

from torch import nn

from torchdau.surgery.candidates import Select, convolutions
from torchdau.surgery.replace import Model, replace_
from torchdau.surgery.units import Pooled, geometry


def pool_strides_(model: Model, select: Select | None = None) -> Model:
    """Move the strides of convolutions to max-pools, as in the paper's residual networks, plain and with units.

    Args:
        model: the model, changed in place. A max-pool precedes each strided convolution, which gets stride 1 and keeps
            its weights and output size.
        select: which convolutions, as in :func:`convert_`. Default: all that have a stride.

    Returns:
        ``model``.

    Raises:
        ValueError: there is no such convolution, or the output of one does not have ``ceil(size / stride)`` pixels.

    Reference:
        Section 5.2 of the paper.

    Example:
        >>> pool_strides_(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1)))[0][0].kernel_size
        (2, 2)
    """
    new: dict[nn.Module, nn.Module] = {}
    for convolution in convolutions(model, select):
        conv = convolution.module
        if convolution.reason == "not selected" or conv.stride == (1, 1):
            continue
        if any(map(any, geometry(conv)[0])):
            raise ValueError(
                f"model must have strided convolutions whose output has ceil(size / stride) pixels, as that of a "
                f"max-pool, got {conv} in {convolution.names[0]!r}. Leave it out by select."
            )
        layer = copy.copy(conv)  # shares the parameters
        layer.stride = (1, 1)
        new[conv] = Pooled(conv.stride, layer).train(conv.training)
    if not new:
        raise ValueError("model must have a convolution with a stride, got none.")
    return replace_(model, new)
