"""The effective receptive field: the influence of each input pixel on a layer's output; numbers only."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchdau.conv import DAUConv2d

SHARES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
"""Shares of the influence for which areas are reported: the paper's contours reach from 25 % to 99.9 %."""
EXACT = 1e-9
"""Tolerance for sums of shares."""


@dataclass(frozen=True)
class ReceptiveField:
    """Influence of each input pixel on an output pixel in the middle of a layer.

    Attributes:
        layer: name of the layer in the model.
        influence: share of each pixel, shape (H, W); they sum to 1.
    """

    layer: str
    influence: Tensor

    @property
    def centre(self) -> tuple[float, float]:
        """Mean position (y, x) of the influence, in pixels."""
        height, width = self.influence.shape
        y = (self.influence.sum(1) * torch.arange(height, dtype=self.influence.dtype)).sum()
        x = (self.influence.sum(0) * torch.arange(width, dtype=self.influence.dtype)).sum()
        return y.item(), x.item()

    @property
    def held(self) -> Tensor:
        """Share that each pixel holds together with all pixels of more influence, shape (H, W)."""
        strength, order = self.influence.flatten().sort(descending=True)
        return torch.empty_like(strength).scatter_(0, order, strength.cumsum(0)).view_as(self.influence)

    def area(self, share: float) -> int:
        """Return the smallest number of pixels that hold a share of the influence."""
        return min(int((self.held < _checked(share) - EXACT).sum()) + 1, self.influence.numel())

    def radius(self, share: float) -> float:
        """Return the radius in pixels of the smallest disc around the centre that holds a share of the influence."""
        y, x = self.centre
        height, width = self.influence.shape
        rows = torch.arange(height, dtype=self.influence.dtype)[:, None] - y
        columns = torch.arange(width, dtype=self.influence.dtype) - x
        distance, order = torch.hypot(rows, columns).flatten().sort()
        held = self.influence.flatten()[order].cumsum(0)
        return distance[min(int((held < _checked(share) - EXACT).sum()), len(held) - 1)].item()


def receptive_field(model: nn.Module, layer: str, images: Tensor, max_channels: int | None = None) -> ReceptiveField:
    """Compute the effective receptive field of a layer, with or without units.

    The field is the absolute gradient of the middle output pixel with respect to all input pixels. It is summed over
    the input's channels, and averaged over images and over the layer's channels. The function uses a copy of the model,
    in evaluation mode and in float64. If a layer is called several times, the last call counts.

    Args:
        model: the model.
        layer: name of the layer, as in ``model.named_modules()``; ``""`` is the whole model.
        images: input of the model, shape (N, C, H, W): real images, or noise.
        max_channels: largest number of the layer's channels to use, evenly chosen. Default: all, as in the paper; each
            costs a backward pass.

    Raises:
        ValueError: there is no such layer, its output is not an image, or it does not depend on the input.

    Reference:
        Luo, Li, Urtasun, Zemel, Understanding the Effective Receptive Field, NIPS 2016; Figure 8 of the paper.

    Example:
        >>> from torchdau.analysis import receptive_field
        >>> field = receptive_field(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), "0", torch.randn(2, 3, 15, 15))
        >>> field.area(0.999), field.radius(0.999) < 1.5
        (9, True)
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    model.double()  # float64, so that rounding errors do not count as influence
    modules = dict(model.named_modules())
    if layer not in modules:
        known = ", ".join(repr(name) for name in list(modules)[1:9])
        raise ValueError(f"layer must be the name of a layer of the model, such as {known}, got layer={layer!r}.")
    if max_channels is not None and max_channels < 1:
        raise ValueError(f"max_channels must be at least 1, got max_channels={max_channels}.")
    outputs: list[Any] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
        outputs.append(output)
        return output.clone() if isinstance(output, Tensor) else output  # what follows may change it in place

    hook = modules[layer].register_forward_hook(keep)
    images = images.detach().double().requires_grad_()
    with hook, torch.enable_grad():
        model(images)
    if not outputs or not isinstance(outputs[-1], Tensor) or outputs[-1].ndim != 4:
        found = f"{tuple(outputs[-1].shape)}" if outputs and isinstance(outputs[-1], Tensor) else "none"
        raise ValueError(f"layer must have an output (N, C, H, W), got {found} for layer={layer!r}.")
    output: Tensor = outputs[-1]
    middle = output[:, :, output.shape[2] // 2, output.shape[3] // 2].sum(0)
    channels = torch.linspace(0, len(middle) - 1, min(len(middle), max_channels or len(middle))).round().int().unique()
    influence = torch.zeros(images.shape[-2:], dtype=torch.float64)
    for channel in channels.tolist():
        (gradient,) = torch.autograd.grad(middle[channel], images, retain_graph=True, allow_unused=True)
        if gradient is not None:
            influence += gradient.abs().sum((0, 1)).double().cpu()
    if not influence.sum() > 0:
        raise ValueError(f"layer must depend on the images, got no gradient for layer={layer!r}.")
    return ReceptiveField(layer, influence / influence.sum())


def spatial_layers(model: nn.Module, most: int = 8) -> list[str]:
    """Return names of layers with a receptive field to look at: unit layers, else convolutions larger than 1 x 1.

    Args:
        model: the model.
        most: largest number of names, evenly chosen from the first to the last.
    """
    modules = dict(model.named_modules())
    names = [name for name, module in modules.items() if isinstance(module, DAUConv2d)] or [
        name for name, module in modules.items() if isinstance(module, nn.Conv2d) and math.prod(module.kernel_size) > 1
    ]
    return [names[place] for place in torch.linspace(0, len(names) - 1, min(most, len(names))).round().int().tolist()]


def _checked(share: float) -> float:
    if not 0 < share < 1:
        raise ValueError(f"share must be above 0 and below 1, got share={share}.")
    return share
