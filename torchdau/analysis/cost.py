"""What each layer of a model costs, and what a 3 x 3 convolution in its place would; numbers only."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchdau.analysis.pruning import forward_times
from torchdau.conv import DAUConv2d
from torchdau.flops import multiply_adds


@dataclass(frozen=True)
class LayerCost:
    """A unit layer, beside a convolution with the same channels, groups and stride: its twin.

    Attributes:
        name: name of the layer in the model.
        units: number of units that are there.
        parameters: number of all parameters.
        twin_parameters: of the twin, with a bias if the layer has one.
        multiply_adds: of one call, by the paper's formula: four pixels per unit and output, and the blurring.
        twin_multiply_adds: of the twin.
        speed_up: the paper's gain over the layer as a dense kernel that reaches as far, by counting.
        input: shape of the input it was called with.
    """

    name: str
    units: int
    parameters: int
    twin_parameters: int
    multiply_adds: int
    twin_multiply_adds: int
    speed_up: float
    input: tuple[int, ...]


def layer_costs(model: nn.Module, images: Tensor, kernel_size: int = 3) -> list[LayerCost]:
    """What the unit layers of a model cost in one call.

    Args:
        model: the model; it is called in evaluation mode.
        images: what it takes.
        kernel_size: of the twins. Default: that of the convolutions which units most often replace.

    Returns:
        A row for each call of a unit layer, in their order; a layer that is called several times has several.

    Reference:
        Section 3.2 of the paper, "Computational cost", and equation (17): K'w K'h / (4 K).
    """
    rows: list[LayerCost] = []

    def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        assert isinstance(layer, DAUConv2d)
        rows.append(_cost(names[layer], layer, inputs[0].shape, output.shape, kernel_size))

    names = {layer: name for name, layer in model.named_modules() if isinstance(layer, DAUConv2d)}
    hooks = [layer.register_forward_hook(note) for layer in names]
    training = [module for module in model.modules() if module.training]
    try:
        with torch.inference_mode():
            model.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return rows


def measured_speed_up(layer: DAUConv2d, input: Tensor, repeats: int = 5) -> float:
    """How many times faster a layer is than the dense kernel that reaches as far, which the paper's (17) predicts.

    Args:
        layer: a unit layer.
        input: what it takes.
        repeats: number of forward passes of each, in turn; the medians count.
    """
    chosen = layer.algorithm

    def run(algorithm: str) -> Any:
        def forward(x: Tensor) -> Tensor:
            layer.algorithm = algorithm
            return layer(x)

        return forward

    try:
        fast, dense = forward_times([run(chosen), run("dense")], input, repeats)
    finally:
        layer.algorithm = chosen
    return dense / fast


def _cost(name: str, layer: DAUConv2d, input: torch.Size, output: torch.Size, kernel_size: int) -> LayerCost:
    outputs, inputs = (1, *output)[-4:], (1, *input)[-4:]
    units, filters = layer.weight.numel(), layer.out_channels * layer.in_channels // layer.groups
    twin = filters * kernel_size**2
    return LayerCost(
        name,
        units,
        sum(p.numel() for p in layer.parameters()),
        twin + (layer.out_channels if layer.bias is not None else 0),
        multiply_adds(outputs, inputs, units, layer.profile.radius),
        twin * outputs[0] * outputs[2] * outputs[3],
        layer.profile.size**2 * filters / (4 * units) if units else math.inf,
        tuple(input),
    )
