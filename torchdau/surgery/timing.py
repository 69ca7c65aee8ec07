"""Training step times of a model's convolutions, and of units in their place."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torchdau.surgery.units import to_units

SECONDS = 0.1
"""Least time in seconds over which a layer is repeated."""

NOISE = 0.1
"""Spread of the repeated times, divided by their median, from which a time counts as noisy."""


class Times(NamedTuple):
    """Times of a training step in a layer.

    Attributes:
        now: milliseconds of the convolution.
        then: milliseconds of what it becomes.
        noisy: whether repeated times differ by more than a tenth.
    """

    now: float
    then: float
    noisy: bool


def step_times(model: nn.Module, images: Tensor, num_units: dict[nn.Conv2d, int]) -> dict[nn.Conv2d, Times]:
    """Measure training step times of convolutions and of units in their place, for each that a model runs.

    Args:
        model: the model.
        images: input of the model.
        num_units: units per filter, for each convolution; 0 for one that stays.
    """
    known: dict[str, Times] = {}
    times = {}
    for conv, input in _inputs(model, images, set(num_units)).items():
        kind = f"{conv} {tuple(input.shape)} {num_units[conv]}"
        if kind not in known:
            now, noisy = _milliseconds(conv, input)
            then = now
            if num_units[conv]:
                with torch.random.fork_rng():  # random placement must not change the caller's random state
                    units = to_units(conv, num_units[conv])
                then, noisy_too = _milliseconds(units, input)
                noisy = noisy or noisy_too
            known[kind] = Times(now, then, noisy)
        times[conv] = known[kind]
    return times


def _inputs(model: nn.Module, images: Tensor, convs: set[nn.Conv2d]) -> dict[nn.Conv2d, Tensor]:
    """Return the input of each convolution, at its first use."""
    inputs: dict[nn.Conv2d, Tensor] = {}

    def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and arguments:
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


def _milliseconds(layer: nn.Module, input: Tensor) -> tuple[float, bool]:
    """Measure the median time of training steps, in the faster memory layout, and whether it is noisy."""
    layouts = torch.contiguous_format, torch.channels_last
    return min(_milliseconds_in(copy.deepcopy(layer).to(memory_format=order), input, order) for order in layouts)


def _milliseconds_in(layer: nn.Module, input: Tensor, order: torch.memory_format) -> tuple[float, bool]:
    from torch.utils.benchmark import Timer

    leaf = input.detach().clone(memory_format=order).requires_grad_()
    leaves = [leaf, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    grad = torch.ones_like(layer(leaf))

    def step() -> None:
        torch.autograd.grad(layer(leaf), leaves, grad)

    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    measured = timer.blocked_autorange(min_run_time=SECONDS)
    return 1000 * float(measured.median), float(measured.iqr) > NOISE * float(measured.median)
