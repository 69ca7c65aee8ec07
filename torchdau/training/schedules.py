"""A learning rate schedule with separate decay for displacements."""

from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class PolynomialDecay(LambdaLR):
    """Decay of learning rates to zero as a power of the remaining share of the training.

    Args:
        optimizer: optimizer over the groups of :func:`torchdau.parameter_groups`.
        total_iters: epochs or steps, as the schedule counts, after which all rates are zero.
        power: exponent of all groups except displacements. Default: 0.3, as in the paper's deblurring networks.
        displacement_power: exponent of displacements. Default: 1, a straight line, as in these networks.

    Reference:
        Section 7 of the paper, "Optimization".
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int, power: float = 0.3, displacement_power: float = 1.0
    ) -> None:
        powers = [displacement_power if g.get("name") == "displacements" else power for g in optimizer.param_groups]

        super().__init__(optimizer, [partial(_left, total_iters, power) for power in powers])


def _left(total_iters: int, power: float, step: int) -> float:
    return max(0.0, 1 - step / total_iters) ** power
