"""Costs of each layer of a model, beside a 3 x 3 convolution in its place; numbers only."""

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
    """Costs of a unit layer and of its twin: a convolution with the same channels, groups and stride.

    Attributes:
        name: name of the layer in the model.
        units: number of units in the layer.
        parameters: number of all parameters.
        twin_parameters: number of parameters of the twin, with a bias if the layer has one.
        multiply_adds: multiply-adds of one call, by the paper's formula: four pixels per unit and output, and the
            blurring.
        twin_multiply_adds: multiply-adds of the twin.
        speed_up: the paper's counted gain over a dense kernel that reaches as far.
        input: shape of the layer's input.
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
    """Count the costs of a model's unit layers in one call.

    Args:
        model: model, called in evaluation mode.
        images: input of the model.
        kernel_size: kernel size of the twins. Default: 3, the convolutions that units most often replace.

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
    """Measure how many times faster a layer is than the dense kernel that reaches as far; (17) predicts this.

    Args:
        layer: unit layer.
        input: input of the layer.
        repeats: forward passes of each, in turn; the medians are compared.
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
