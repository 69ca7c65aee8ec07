"""Optimizers for models with units: parameter groups, weight decay and the steps of displacements."""

import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from torchdau.arguments import check_model
from torchdau.conv import LAYERS, DAUConv2d
from torchdau.unit_optimizer import Steps, UnitOptimizer, level_of_user

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""The norms of torch; class names identify norms of other libraries."""

DISPLACEMENT_FACTOR = 500
"""How much faster displacements learn than weights with SGD, as in the paper's networks."""

FASTEST = 0.2
"""Pixels a step from which an optimizer like Adam is warned of: a unit would cross its area in a few steps."""


def optimizer(
    model: nn.Module,
    optimizer_class: Callable[..., torch.optim.Optimizer],
    lr: float,
    weight_decay: float | None = None,
    displacement_lr: float = 0.05,
    **options: Any,
) -> torch.optim.Optimizer:
    """Create an optimizer whose displacements step in pixels.

    Displacements follow Adam's rule, whatever the class of the optimizer. Adam divides a gradient by its size, so a
    step is at most about ``displacement_lr`` pixels in layers of any width. All other parameters follow the given
    class, in the groups of :func:`parameter_groups`: biases, norms and sigmas do not decay.

    Args:
        model: a model with or without unit layers.
        optimizer_class: class for all other parameters: ``torch.optim.SGD``, ``torch.optim.AdamW``, or any other that
            takes parameter groups, ``lr`` and ``weight_decay``.
        lr: learning rate of all parameters but displacements.
        weight_decay: decay of the weights. Default: that of the class, such as 0 for SGD and 0.01 for AdamW.
        displacement_lr: learning rate of displacements, in pixels per step. Schedulers that multiply rates scale it
            like the others. Those that set rates need one for each group: ``OneCycleLR(optimizer, max_lr=[group["lr"]
            for group in optimizer.param_groups])``.
        **options: further arguments of the class, such as ``momentum``, ``betas``, ``foreach`` or ``fused``.

    Returns:
        One optimizer for schedulers, gradient scalers, Lightning and distributed training. Its ``state_dict`` holds the
        complete state. Parameters that ``add_param_group`` adds later are told apart in the same way.

    Raises:
        TypeError: a rate or the decay is not a number, or the class is none.
        ValueError: a rate or the decay is negative or not finite, or no parameter of the model requires a gradient.

    Example:
        >>> model = nn.Sequential(DAUConv2d(3, 8), nn.BatchNorm2d(8))
        >>> optimizer = torchdau.optimizer(model, torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-4)
        >>> [(group["name"], group["lr"]) for group in optimizer.param_groups]
        [('weights', 0.1), ('no_decay', 0.1), ('displacements', 0.05)]
    """
    if not callable(optimizer_class):
        raise TypeError(f"optimizer_class must be a class such as torch.optim.SGD, got {optimizer_class!r}.")
    if weight_decay is None:
        default = inspect.signature(optimizer_class).parameters.get("weight_decay")
        weight_decay = default.default if default and isinstance(default.default, int | float) else 0.0
    groups = parameter_groups(model, lr, weight_decay, displacement_lr)
    return UnitOptimizer(groups, optimizer_class, options, displacement_lr)


def _warn_of_shared_groups(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Warn at the first step of any optimizer whose displacements follow a rule that is meant for weights."""
    if torch.compiler.is_compiling() or optimizer in _seen or isinstance(optimizer, UnitOptimizer | Steps):
        return
    _seen.add(optimizer)
    displacements = {id(layer.displacement) for layer in LAYERS}
    for group in optimizer.param_groups:
        found = [id(parameter) in displacements for parameter in group["params"]]
        whose = f"the displacements of {sum(found)} layer{'s' * (sum(found) > 1)}"
        if any(found) and all(found) and "betas" in group and group["lr"] > FASTEST:
            warnings.warn(
                f"{whose} step up to {group['lr']:g} pixels with {type(optimizer).__name__}, which divides gradients "
                "by their size. Give parameter_groups a displacement_lr of about 0.05, or use torchdau.optimizer.",
                stacklevel=level_of_user(),
            )
            return
        decay = group.get("weight_decay", 0)
        if any(found) and (decay or not all(found)):
            kind = type(optimizer).__name__
            decaying = f" and decay towards 0 (weight_decay={decay})" if decay else ""
            warnings.warn(
                f"{whose} are in a group of {kind} for weights: they step at the rate of weights "
                f"(lr={group['lr']}), which hardly moves them or moves them too far{decaying}. Create the optimizer "
                f"with torchdau.optimizer(model, {kind}, lr=...), whose displacements step in pixels.",
                stacklevel=level_of_user(),
            )
            return


_seen: WeakSet[torch.optim.Optimizer] = WeakSet()
register_optimizer_step_pre_hook(_warn_of_shared_groups)


def parameter_groups(
    model: nn.Module, lr: float | None = None, weight_decay: float = 0.0, displacement_lr: float | None = None
) -> list[dict[str, Any]]:
    """Split the parameters of a model into groups for any optimizer of torch.optim, as in the paper.

    Displacements, sigmas, biases and the parameters of norms do not decay: a displacement of zero is no simpler than
    another. Displacements have their own learning rate.

    Prefer :func:`optimizer`, unless you reproduce the paper. The gradient of a displacement shrinks with the width of
    its layer. With one factor for all layers, units of wide layers hardly move, and units of narrow layers can run to
    their bound.

    Args:
        model: a model with or without unit layers. Parameters without gradient are left out.
        lr: learning rate of all parameters but displacements; it must be given.
        weight_decay: decay of the weights.
        displacement_lr: learning rate of displacements. Default: ``500 * lr``, the paper's factor for SGD. Give Adam
            and its variants a value of their own. They divide a gradient by its size, so a step is about
            ``displacement_lr`` pixels, whatever the gradient. The paper's deblurring network uses 1e-3, twice the rate
            of its weights.

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
    check_model(model)
    if lr is None:
        raise TypeError("lr must be a number, got lr=None.")
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
    """Return the group of a module's own parameter, by its owner, because a sharding strategy may change its shape."""
    if isinstance(module, DAUConv2d) and name == "displacement":
        return "displacements"
    if isinstance(module, DAUConv2d) and name == "sigma":
        return "no_decay"
    norm = isinstance(module, NORMS) or re.search(r"Norm(Act)?(\d[dD])?$", type(module).__name__)
    return "no_decay" if norm or name.endswith("bias") else "weights"
