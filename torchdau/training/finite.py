"""Search for the module in which numbers of a training step become non-finite."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def first_not_finite(network: nn.Module, images: Tensor) -> str | None:
    """Return the name of the first module, in the order of calls, whose output is not finite.

    Args:
        network: network to check; it is called once more.
        images: its input.
    """
    if not images.isfinite().all():
        return "the images themselves"
    found: list[str] = []

    def look(name: str) -> Any:
        return lambda module, inputs, output: found.append(name) if not _finite(output) else None

    leaves = [(name, module) for name, module in network.named_modules() if not any(True for _ in module.children())]
    hooks = [module.register_forward_hook(look(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def gradients_not_finite(network: nn.Module) -> list[str]:
    """Return the names of the modules with non-finite gradients, from the output to the input."""
    names = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return list(dict.fromkeys(name.rpartition(".")[0] for name in reversed(names)))


def largest_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the largest absolute value of all gradients, or NaN if one is NaN."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return nn.utils.get_total_norm(gradients, torch.inf)


def _finite(output: Any) -> bool:
    if isinstance(output, Tensor):
        return bool(output.isfinite().all())
    return all(map(_finite, output)) if isinstance(output, list | tuple) else True
