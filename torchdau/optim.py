"""Parameter groups for torch.optim: which parameters decay, and the rate of displacements."""

import re
from typing import Any

from torch import nn

from torchdau.conv import DAUConv2d

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""The norms of torch; those of other libraries are known by their names."""

DISPLACEMENT_FACTOR = 500
"""How much faster displacements learn than weights with SGD (the paper's networks)."""


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, displacement_lr: float | None = None
) -> list[dict[str, Any]]:
    """Splits the parameters of a model into groups for any optimizer of torch.optim.

    Displacements, sigmas, biases and the parameters of norms do not decay: a displacement of zero is no simpler than
    another. Displacements have their own rate: their gradient is that of a weight times a
    derivative of the image, and a step is in pixels.

    Args:
        model: a model with or without unit layers. Parameters without gradient are left out.
        lr: learning rate of all but displacements.
        weight_decay: decay of the weights.
        displacement_lr: learning rate of displacements. Default: ``500 * lr``, the paper's factor for SGD. Adam and its
            kin divide a gradient by its size, so that their steps are about ``lr`` pixels whatever the gradient: give
            them a value of their own. The paper's deblurring network has 1e-3, twice the rate of its weights.

    Returns:
        Groups with the keys ``params``, ``name`` ("weights", "no_decay" or "displacements"), ``lr`` and
        ``weight_decay``; none is empty.

    Raises:
        TypeError: a rate or the decay is not a number.
        ValueError: a rate or the decay is negative or not finite.

    Reference:
        Sections 5.2 and 7 of the paper.

    Example:
        >>> groups = parameter_groups(DAUConv2d(3, 8), lr=0.1, weight_decay=1e-4)
        >>> [(group["name"], group["lr"], group["weight_decay"]) for group in groups]
        [('weights', 0.1, 0.0001), ('no_decay', 0.1, 0.0), ('displacements', 50.0, 0.0)]
        >>> optimizer = torch.optim.SGD(groups, momentum=0.9)
    """
    given = {"lr": lr, "weight_decay": weight_decay}
    if displacement_lr is not None:
        given["displacement_lr"] = displacement_lr
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, got {name}={value!r}.")
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be a finite number, 0 or more, got {name}={value}.")
    if displacement_lr is None:
        displacement_lr = DISPLACEMENT_FACTOR * lr
    members: dict[str, list[nn.Parameter]] = {"weights": [], "no_decay": [], "displacements": []}
    seen = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                members[_group(module, name)].append(parameter)
                seen.add(parameter)
    return [
        {
            "params": parameters,
            "name": name,
            "lr": displacement_lr if name == "displacements" else lr,
            "weight_decay": weight_decay if name == "weights" else 0.0,
        }
        for name, parameters in members.items()
        if parameters
    ]


def _group(module: nn.Module, name: str) -> str:
    """The group of a module's own parameter; by its owner and not its shape, which a sharding strategy may change."""
    if isinstance(module, DAUConv2d) and name == "displacement":
        return "displacements"
    if isinstance(module, DAUConv2d) and name == "sigma":
        return "no_decay"
    norm = isinstance(module, NORMS) or re.search(r"Norm(Act)?(\d[dD])?$", type(module).__name__)
    return "no_decay" if norm or name.endswith("bias") else "weights"
