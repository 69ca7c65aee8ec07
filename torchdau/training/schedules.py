"""Learning rate schedules that span the training, however long it is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

_STATE = ("last_epoch", "_step_count", "_last_lr")


class TrainingSchedule(LRScheduler, ABC):
    """Schedule over a whole training. Tasks call :meth:`span` when they know how long the training is.

    Args:
        optimizer: optimizer whose rates change.
        total_iters: length of the training in epochs or steps, as the schedule counts.

    Raises:
        ValueError: at the first step, if ``total_iters`` is unknown.
    """

    def __init__(self, optimizer: Optimizer, total_iters: float | None) -> None:
        self.total_iters = total_iters
        super().__init__(optimizer)

    @abstractmethod
    def factor(self, iters: float, total: float, name: str | None) -> float:
        """Return what multiplies the rate of the parameter group ``name`` after ``iters`` of ``total`` iterations."""

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group."""
        if not self.last_epoch:
            return list(self.base_lrs)
        if self.total_iters is None:
            raise ValueError(f"{type(self).__name__} needs total_iters, the epochs or steps of the training, got None.")
        iters, total = min(self.last_epoch, self.total_iters), self.total_iters
        names = [group.get("name") for group in self.optimizer.param_groups]
        return [lr * self.factor(iters, total, name) for lr, name in zip(self.base_lrs, names, strict=True)]

    def span(self, total_iters: float) -> None:
        """Set the length of the training, and the rates to those of a training of this length."""
        self.total_iters = total_iters
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """Return how far the schedule is. The settings are not part of it: a resumed training may change them."""
        return {key: getattr(self, key) for key in _STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a schedule, also one of another class."""
        self.__dict__.update({key: state_dict[key] for key in _STATE})


class MultiStepDecay(TrainingSchedule):
    """Decay of learning rates at some points of the training.

    Args:
        optimizer: optimizer whose rates decay.
        milestones: shares of the training, between 0 and 1, after which rates decay. They are rounded to whole epochs
            or steps.
        gamma: what rates are multiplied by at each milestone.
        total_iters: epochs or steps of the training. Default: what the trainer's limits allow.

    Raises:
        ValueError: if a milestone is no share.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[float], gamma: float = 0.1, total_iters: float | None = None
    ) -> None:
        if wrong := [milestone for milestone in milestones if not 0 < milestone < 1]:
            raise ValueError(f"milestones must be shares of the training, between 0 and 1, got {wrong[0]}.")
        self.milestones = list(milestones)
        self.gamma = gamma
        super().__init__(optimizer, total_iters)

    def factor(self, iters: float, total: float, name: str | None) -> float:
        """Return the factor of all groups."""
        return self.gamma ** sum(iters >= milestone * total - 0.5 for milestone in self.milestones)


class PolynomialDecay(TrainingSchedule):
    """Decay of learning rates to zero as a power of the remaining share of the training.

    Args:
        optimizer: optimizer over the groups of :func:`torchdau.parameter_groups`.
        total_iters: epochs or steps after which all rates are zero. Default: what the trainer's limits allow.
        power: exponent of all groups except displacements. Default: 0.3, as in the paper's deblurring networks.
        displacement_power: exponent of displacements. Default: 1, a straight line, as in these networks.

    Reference:
        Section 7 of the paper, "Optimization".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: float | None = None,
        power: float = 0.3,
        displacement_power: float = 1.0,
    ) -> None:
        self.power = power
        self.displacement_power = displacement_power
        super().__init__(optimizer, total_iters)

    def factor(self, iters: float, total: float, name: str | None) -> float:
        """Return the factor of a group."""
        return (1 - iters / total) ** (self.displacement_power if name == "displacements" else self.power)


class CosineDecay(TrainingSchedule):
    """Decay of learning rates to zero along half a cosine.

    Args:
        optimizer: optimizer whose rates decay.
        total_iters: epochs or steps after which all rates are zero. Default: what the trainer's limits allow.
    """

    def __init__(self, optimizer: Optimizer, total_iters: float | None = None) -> None:
        super().__init__(optimizer, total_iters)

    def factor(self, iters: float, total: float, name: str | None) -> float:
        """Return the factor of all groups."""
        return (1 + math.cos(math.pi * iters / total)) / 2
