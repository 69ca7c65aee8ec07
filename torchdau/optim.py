"""Optimizers for models with units: parameter groups, weight decay and the steps of displacements."""

import inspect
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from torchdau.arguments import check_model
from torchdau.conv import LAYERS, DAUConv2d

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""The norms of torch; class names identify norms of other libraries."""

DISPLACEMENT_FACTOR = 500
"""How much faster displacements learn than weights with SGD, as in the paper's networks."""

FASTEST = 0.2
"""Pixels a step from which an optimizer like Adam is warned of: a unit would cross its area in a few steps."""

EPS = 1e-16
"""Adam's epsilon for displacements: it is below any gradient, so the gradient's scale does not change the step."""


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
    return _UnitOptimizer(groups, optimizer_class, options, displacement_lr)


class _Steps(torch.optim.Adam):
    """Adam for displacements, whose rate was given in pixels."""


class _UnitOptimizer(torch.optim.Optimizer):
    """An optimizer of two parts that share its groups and its state: Adam for displacements, another for the rest."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        optimizer_class: Callable[..., torch.optim.Optimizer],
        options: dict[str, Any],
        displacement_lr: float,
    ) -> None:
        if not groups:
            raise ValueError("model must have parameters that require gradients, got none. Unfreeze some.")
        self._class, self._options, self._displacement_lr = optimizer_class, options, displacement_lr
        self._parts: dict[bool, torch.optim.Optimizer] = {}
        for pixels in (False, True):
            if found := [group for group in groups if _steps_in_pixels(group) == pixels]:
                self._parts[pixels] = self._part(found)
        made = list(self._parts.values())
        super().__init__([group for part in made for group in part.param_groups], made[0].defaults)
        self._first_rates = self._rates()

    def _part(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer of some groups, all of displacements or none."""
        if not _steps_in_pixels(groups[0]):
            return self._class(groups, **self._options)
        shared = ("foreach", "fused", "capturable", "maximize")
        return _Steps(groups, eps=EPS, **{name: self._options[name] for name in shared if name in self._options})

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether all parts can undo the scale of gradients, which GradScaler then leaves to them."""
        return all(getattr(part, "_step_supports_amp_scaling", False) for part in self._parts.values())

    def __getstate__(self) -> dict[str, Any]:
        own = ("_class", "_options", "_displacement_lr", "_parts", "_first_rates")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters. Displacements among others get a group of their own, with the rate of displacements."""
        if not hasattr(self, "_first_rates"):  # the base class adds those that are complete
            super().add_param_group(param_group)
            return
        params = param_group["params"]
        params = [params] if isinstance(params, torch.Tensor) else list(params)
        ids = {id(layer.displacement) for layer in LAYERS}
        if _steps_in_pixels(param_group):
            ids |= {id(each) for each in params}
        for pixels in (False, True):
            if not (some := [each for each in params if (id(each) in ids) == pixels]):
                continue
            group = {**param_group, "params": some}
            if pixels:
                own = {} if len(some) == len(params) else {"lr": self._displacement_lr, "weight_decay": 0.0}
                group = {"lr": self._displacement_lr, **group, **own, "name": "displacements"}
            if pixels in self._parts:
                part = self._parts[pixels]
                part.param_groups = self._groups(pixels)
                part.add_param_group(group)
            else:
                part = self._parts[pixels] = self._part([group])
            super().add_param_group(part.param_groups[-1])

    def _groups(self, pixels: bool) -> list[dict[str, Any]]:
        """Return the groups of displacements, or the others."""
        return [group for group in self.param_groups if _steps_in_pixels(group) == pixels]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step and return the loss, which ``closure`` evaluates first if it is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._warn_of_a_single_rate()
        for pixels, part in self._parts.items():
            part.param_groups = self._groups(pixels)
            part.state = self.state  # load_state_dict replaces groups and state
            for name in ("grad_scale", "found_inf"):  # set by GradScaler for this step
                setattr(part, name, getattr(self, name, None))
            part.step()
        return loss

    def _rates(self) -> list[float]:
        """Return the different rates of weights and displacements."""
        return sorted({float(group["lr"]) for group in self.param_groups if group.get("name") != "no_decay"})

    def _warn_of_a_single_rate(self) -> None:
        """Warn once if displacements got the rate of the weights after the optimizer was made with two rates."""
        if torch.compiler.is_compiling() or len(self._first_rates) < 2:
            return
        if any(isinstance(group["lr"], torch.Tensor) for group in self.param_groups):
            return  # reading it would wait for the GPU
        if len(rates := self._rates()) == 1 and rates[0] > 0:
            self._first_rates = []
            warnings.warn(
                f"displacements step {rates[0]:g} pixels, the rate of the weights, because a scheduler or a loop set "
                "one for all groups. Give each group its own, as in OneCycleLR(optimizer, max_lr=[group['lr'] for "
                "group in optimizer.param_groups]).",
                stacklevel=_level_of_user(),
            )


def _warn_of_shared_groups(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Warn at the first step of any optimizer whose displacements follow a rule that is meant for weights."""
    if torch.compiler.is_compiling() or optimizer in _seen or isinstance(optimizer, _UnitOptimizer | _Steps):
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
                stacklevel=_level_of_user(),
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
                stacklevel=_level_of_user(),
            )
            return


def _level_of_user() -> int:
    """Return the stack level, for a warning of the calling function, of the code that called PyTorch's step."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "torchdau"):
        frame, level = frame.f_back, level + 1
    return level


_seen: WeakSet[torch.optim.Optimizer] = WeakSet()
register_optimizer_step_pre_hook(_warn_of_shared_groups)


def _steps_in_pixels(group: dict[str, Any]) -> bool:
    return bool(group.get("name") == "displacements")


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, displacement_lr: float | None = None
) -> list[dict[str, Any]]:
    """Split the parameters of a model into groups for any optimizer of torch.optim, as in the paper.

    Displacements, sigmas, biases and the parameters of norms do not decay: a displacement of zero is no simpler than
    another. Displacements have their own learning rate.

    Prefer :func:`optimizer`, unless you reproduce the paper. The gradient of a displacement shrinks with the width of
    its layer. With one factor for all layers, units of wide layers hardly move, and units of narrow layers can run to
    their bound.

    Args:
        model: a model with or without unit layers. Parameters without gradient are left out.
        lr: learning rate of all parameters but displacements.
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
