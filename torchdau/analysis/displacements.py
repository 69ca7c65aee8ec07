"""Positions and widths of the units of each layer of a model; numbers only."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from torchdau.conv import DAUConv2d

AT_BOUND = 0.01
"""Distance in pixels from the bound within which a unit counts as being at it."""


@dataclass(frozen=True)
class LayerUnits:
    """The units of one layer: U = O * I * K of them, or fewer after pruning.

    Attributes:
        name: name of the layer in the model.
        displacement: positions (y, x) in pixels, shape (U, 2).
        weight: amplitudes, shape (U,).
        sigma: widths in pixels, shape (U,); all equal if they are not learned.
        max_displacement: bound of the positions in pixels.
    """

    name: str
    displacement: Tensor
    weight: Tensor
    sigma: Tensor
    max_displacement: float

    @property
    def distance(self) -> Tensor:
        """Distance of each unit from the centre of its filter in pixels, shape (U,)."""
        return torch.linalg.vector_norm(self.displacement, dim=1)

    @property
    def at_bound(self) -> Tensor:
        """Units at the bound along y or x, shape (U,): a larger ``max_displacement`` would let them move on."""
        return self.displacement.abs().amax(1) >= self.max_displacement - AT_BOUND

    def strongest(self, share: float) -> "LayerUnits":
        """Return the units whose absolute weight is at least this share of the largest in the layer.

        Args:
            share: share from 0, which keeps all units, to 1, which keeps the largest.

        Raises:
            ValueError: the share is below 0 or above 1.

        Reference:
            Section 4.3 of the paper, which uses shares of 0, 0.75 and 0.9.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share must be at least 0 and at most 1, got share={share}.")
        strength = self.weight.abs()
        kept = strength >= share * strength.max() if len(strength) else strength > 0
        return replace(self, displacement=self.displacement[kept], weight=self.weight[kept], sigma=self.sigma[kept])


def units_of(model: nn.Module) -> list[LayerUnits]:
    """Return the units of all unit layers of a model, in the order of the layers; copies, on the CPU.

    Example:
        >>> [units.displacement.shape for units in units_of(nn.Sequential(torchdau.DAUConv2d(3, 8, num_units=2)))]
        [torch.Size([48, 2])]
    """
    layers = []
    for name, module in model.named_modules():
        if isinstance(module, DAUConv2d):
            sigma = module.sigma if isinstance(module.sigma, Tensor) else torch.tensor(module.sigma)
            weight = _copy(module.weight).flatten()
            displacement = _copy(module.displacement).reshape(-1, 2)
            spread = _copy(sigma).flatten().expand(len(weight))
            layers.append(LayerUnits(name, displacement, weight, spread, module.max_displacement))
    return layers


def distance_distribution(units: LayerUnits, bins: int = 40) -> tuple[Tensor, Tensor]:
    """Return the distribution of a layer's weight over distances from the filter's centre.

    Args:
        units: units of a layer; each counts with its absolute weight.
        bins: number of equal steps from 0 to the corner of the bound.

    Returns:
        Shares of shape (bins,), which sum to 1, and the edges of the bins in pixels, of shape (bins + 1,).

    Reference:
        Figure 6 of the paper.
    """
    farthest = max(2**0.5 * units.max_displacement, 1e-6)
    return distribution(units.distance, units.weight, bins, (0.0, farthest))


def displacement_distribution(units: LayerUnits, bins: int = 48) -> tuple[Tensor, Tensor]:
    """Return the distribution of a layer's weight over positions.

    Args:
        units: units of a layer; each counts with its absolute weight.
        bins: number of equal steps along each axis, which reach half a pixel beyond the bound.

    Returns:
        Shares of shape (bins along y, bins along x), which sum to 1, and the edges of the bins in pixels. Edges have
        shape (bins + 1,) and are the same along both axes.

    Reference:
        Figure 7 of the paper.
    """
    edge = units.max_displacement + 0.5
    shares, edges = torch.histogramdd(
        units.displacement, [bins, bins], range=[-edge, edge, -edge, edge], weight=units.weight.abs()
    )
    return shares / shares.sum().clamp_min(torch.finfo(shares.dtype).tiny), edges[0]


def distribution(values: Tensor, weight: Tensor, bins: int, limits: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return the distribution of weight over values.

    Args:
        values: values of units, shape (U,).
        weight: weights of the same units; each counts with its absolute value.
        bins: number of equal steps.
        limits: smallest and largest value of the range.

    Returns:
        Shares of shape (bins,), which sum to 1, and the edges of the bins, of shape (bins + 1,).
    """
    shares, edges = torch.histogram(values, bins, range=limits, weight=weight.abs())
    return shares / shares.sum().clamp_min(torch.finfo(shares.dtype).tiny), edges


def moved(units: LayerUnits, before: LayerUnits) -> Tensor:
    """Return how far each unit moved in pixels, shape (U,).

    Args:
        units: units of a layer after training.
        before: units of the same layer before training.

    Raises:
        ValueError: the layers have different numbers of units, as after pruning.
    """
    _check_same(units, before)
    return torch.linalg.vector_norm(units.displacement - before.displacement, dim=1)


def widened(units: LayerUnits, before: LayerUnits) -> Tensor:
    """Return how much each unit's sigma grew in pixels, shape (U,).

    Args:
        units: units of a layer after training.
        before: units of the same layer before training.

    Raises:
        ValueError: the layers have different numbers of units, as after pruning.

    Reference:
        Figure 4 of the paper.
    """
    _check_same(units, before)
    return units.sigma - before.sigma


def _check_same(units: LayerUnits, before: LayerUnits) -> None:
    if len(units.weight) != len(before.weight):
        raise ValueError(
            f"before must have the units of the same layer, got {len(before.weight)} units of {before.name!r} for "
            f"{len(units.weight)} of {units.name!r}. Compare networks that were not pruned."
        )


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True)
