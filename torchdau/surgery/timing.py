"""Training step times of units in place of a model's convolutions."""

import copy

import torch
from torch import Tensor, nn

from torchdau.surgery.units import to_units

SECONDS = 0.1
"""Least time in seconds over which a layer is repeated."""


def step_ratios(model: nn.Module, images: Tensor, num_units: dict[nn.Conv2d, int]) -> dict[nn.Conv2d, float]:
    """Measure the training step time of units divided by the time of the convolution, for each that a model runs.

    Args:
        model: the model.
        images: input of the model.
        num_units: units per filter, for each convolution.
    """
    inputs = _inputs(model, images, set(num_units))
    known: dict[str, float] = {}
    ratios = {}
    for conv, input in inputs.items():
        kind = f"{conv} {tuple(input.shape)} {num_units[conv]}"
        if kind not in known:
            with torch.random.fork_rng():  # random placement must not change the caller's random state
                units = to_units(conv, num_units[conv])
            known[kind] = _seconds(units, input) / _seconds(conv, input)
        ratios[conv] = known[kind]
    return ratios


def _inputs(model: nn.Module, images: Tensor, convs: set[nn.Conv2d]) -> dict[nn.Conv2d, Tensor]:
    """Return the input of each convolution, at its first use."""
    inputs: dict[nn.Conv2d, Tensor] = {}

    def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d):
            inputs.setdefault(module, arguments[0])

    hooks = [conv.register_forward_pre_hook(note) for conv in convs]
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return inputs


def _seconds(layer: nn.Module, input: Tensor) -> float:
    """Measure the median time of training steps, in the faster memory layout."""
    layouts = torch.contiguous_format, torch.channels_last
    return min(_seconds_in(copy.deepcopy(layer).to(memory_format=order), input, order) for order in layouts)


def _seconds_in(layer: nn.Module, input: Tensor, order: torch.memory_format) -> float:
    from torch.utils.benchmark import Timer

    leaf = input.detach().clone(memory_format=order).requires_grad_()
    leaves = [leaf, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    grad = torch.ones_like(layer(leaf))

    def step() -> None:
        torch.autograd.grad(layer(leaf), leaves, grad)

    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=SECONDS).median)
