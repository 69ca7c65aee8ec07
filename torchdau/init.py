"""Placements of units: functions that fill a tensor of displacements in place, as torch.nn.init does for weights."""

import math
from typing import Any

import torch
from torch import Tensor

from torchdau.arguments import check_number
from torchdau.profile import MAX_DISPLACEMENT


@torch.no_grad()
def uniform_(displacement: Tensor, bound: float = 1.5) -> Tensor:
    """Place every unit at random in a square around the centre.

    Args:
        displacement: displacements in pixels, any shape.
        bound: half the side of the square in pixels. Default: 1.5, as in the paper's residual networks.

    Returns:
        ``displacement``.

    Reference:
        Section 5.2 of the paper.
    """
    _check(displacement)
    check_number("bound", bound, 0, MAX_DISPLACEMENT)
    return displacement.uniform_(-bound, bound)


@torch.no_grad()
def normal_(displacement: Tensor, std: float = 0.5) -> Tensor:
    """Place every unit at random around the centre, from a normal distribution.

    Args:
        displacement: displacements in pixels, any shape.
        std: standard deviation in pixels. Default: 0.5, as in the paper's deblurring network.

    Returns:
        ``displacement``.

    Reference:
        Section 7 of the paper.
    """
    _check(displacement)
    check_number("std", std, 0, MAX_DISPLACEMENT)
    return displacement.normal_(0, std)


@torch.no_grad()
def grid_(displacement: Tensor, max_displacement: float = 4.0) -> Tensor:
    """Place the K units of each filter on a grid, the same for all filters.

    Rows times columns is K. The two numbers differ as little as possible, with no more rows than columns: 2 x 2 for 4
    units, 1 x 2 for 2.

    Args:
        displacement: displacements in pixels, shape (O, I, K, 2).
        max_displacement: bound of the displacements in pixels; the grid fills the square one pixel inside it. Default:
            4, as in the paper.

    Returns:
        ``displacement``.

    Reference:
        The official implementation (Caffe); the paper names no placement for its CIFAR-10 network.

    Example:
        >>> grid_(torch.empty(1, 1, 4, 2))
        tensor([[[[-1.7500, -1.7500],
                  [-1.7500,  1.7500],
                  [ 1.7500, -1.7500],
                  [ 1.7500,  1.7500]]]])
    """
    _check(displacement)
    if displacement.ndim != 4 or displacement.shape[3] != 2 or not displacement.shape[2]:
        raise ValueError(
            "displacement must be of shape (O, I, K, 2) with at least one unit, got displacement of shape "
            f"{tuple(displacement.shape)}."
        )
    check_number("max_displacement", max_displacement, 0, MAX_DISPLACEMENT)
    num_units = displacement.shape[2]
    rows = next(n for n in range(math.isqrt(num_units), 0, -1) if num_units % n == 0)
    ys, xs = (_centres(n, max_displacement, displacement) for n in (rows, num_units // rows))
    return displacement.copy_(torch.cartesian_prod(ys, xs).view(num_units, 2))


def _check(displacement: Any) -> None:
    if not isinstance(displacement, Tensor):
        raise TypeError(
            f"displacement must be a tensor, got a {type(displacement).__name__}. Of a layer, pass layer.displacement."
        )


def _centres(count: int, max_displacement: float, like: Tensor) -> Tensor:
    """Return centres of ``count`` equal parts of 2 m + 1 pixels, m = max_displacement - 1, none beyond the bound."""
    part = 2 * min(max(max_displacement - 1, 0) + 0.5, max_displacement) / count
    return (torch.arange(count, dtype=like.dtype, device=like.device) - (count - 1) / 2) * part
