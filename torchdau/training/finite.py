"""Where numbers of a training step stopped being finite."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def first_not_finite(network: nn.Module, images: Tensor) -> str | None:
    """The name of the first module whose output is not finite, in the order in which modules are called.

    Args:
        network: it is called once more.
        images: what it takes.
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
    """Names of the modules with gradients that are not finite, from the output to the input, as gradients go."""
    names = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return list(dict.fromkeys(name.rpartition(".")[0] for name in reversed(names)))


def largest_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The largest absolute value in gradients; NaN where one is."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return nn.utils.get_total_norm(gradients, torch.inf)


def _finite(output: Any) -> bool:
    if isinstance(output, Tensor):
        return bool(output.isfinite().all())
    return all(map(_finite, output)) if isinstance(output, list | tuple) else True
