"""The optimizer that :func:`torchdau.optimizer` creates, and where its warnings point."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch

from torchdau.conv import LAYERS

EPS = 1e-16
"""Adam's epsilon for displacements: it is below any gradient, so the gradient's scale does not change the step."""


class Steps(torch.optim.Adam):
    """Adam for displacements, whose rate was given in pixels."""


class UnitOptimizer(torch.optim.Optimizer):
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
        return Steps(groups, eps=EPS, **{name: self._options[name] for name in shared if name in self._options})

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
                stacklevel=level_of_user(),
            )


def level_of_user() -> int:
    """Return the stack level, for a warning of the calling function, of the code that called PyTorch's step."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "torchdau"):
        frame, level = frame.f_back, level + 1
    return level


def _steps_in_pixels(group: dict[str, Any]) -> bool:
    return bool(group.get("name") == "displacements")
