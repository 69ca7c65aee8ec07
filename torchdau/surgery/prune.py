"""Removal of units that add little; afterwards filters have different numbers of units."""

import logging
import math
from typing import Any

import torch
from torch import Tensor, nn

from torchdau.arguments import check_number
from torchdau.conv import DAUConv2d
from torchdau.surgery.replace import Model, check_plain, keep_kernel_size, replace_, unit_layers

logger = logging.getLogger("torchdau")


class PrunedDAUConv2d(DAUConv2d):
    """A unit layer whose filters have different numbers of units, as :func:`prune_units_` creates it.

    Its parameters are lists of units, the first filter's units first, without room for removed units. State dict,
    optimizer state and the time of the direct algorithm shrink with them. It trains like any other layer. It loads the
    state of any pruned layer of this shape: ``prune_units_(model, 0).load_state_dict(saved)``. If its numbers of units
    differ, the parameters are new ones: create the optimizer afterwards.

    Args:
        counts: number of units of each filter, shape (O, I / groups).
        **arguments: arguments of :class:`DAUConv2d`; ``counts`` determines ``num_units``.

    Attributes:
        weight: amplitudes, shape (U,) for U units in total. Start: 0, like the other parameters of units; values are
            copied or loaded.
        displacement: positions (y, x) in pixels, shape (U, 2).
        sigma: a number, or a parameter of shape (U,) if it is learned.
        counts: buffer with the number of units of each filter.
        num_units: the largest of these numbers, at least 1.
    """

    counts: Tensor
    places: Tensor
    coordinates: Tensor

    def __init__(self, counts: Tensor, **arguments: Any) -> None:
        super().__init__(**arguments)
        shape = self.out_channels, self.in_channels // self.groups
        if tuple(counts.shape) != shape or int(counts.min()) < 0:
            raise ValueError(f"counts must be numbers of units of shape {shape}, got counts of {tuple(counts.shape)}.")
        for name in ("weight", "displacement", "sigma"):
            full = getattr(self, name)
            if isinstance(full, Tensor):
                setattr(self, name, nn.Parameter(full.new_empty(0, *full.shape[3:])))
        self.register_buffer("counts", None)
        self.register_buffer("places", None, persistent=False)
        self.register_buffer("coordinates", None, persistent=False)
        self._set_counts(counts.to(self.weight.device))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Reset all parameters to starting values of a layer with the largest number of units."""
        if self.weight.ndim == 3:  # before units are removed
            super().reset_parameters()
            return
        full = DAUConv2d(**self.arguments())
        for name, parameter in self.named_parameters():
            start = full.get_parameter(name)
            parameter.copy_(start if name == "bias" else start.flatten(0, 2)[self.places])

    def units(self) -> tuple[Tensor, Tensor, float | Tensor]:
        """Return as many units for each filter as other layers have; the added ones have weight 0."""
        shape = *self.counts.shape, self.num_units

        def filled(units: Tensor, places: Tensor, value: float) -> Tensor:
            size = *shape, *units.shape[1:]
            return units.new_full((math.prod(size),), value).scatter(0, places, units.flatten()).view(size)

        sigma = filled(self.sigma, self.places, self.max_sigma) if isinstance(self.sigma, Tensor) else self.sigma
        return filled(self.weight, self.places, 0), filled(self.displacement, self.coordinates, 0), sigma

    def _set_counts(self, counts: Tensor) -> None:
        """Make room for other numbers of units; parameters of another size are new ones."""
        flat = counts.flatten().long()
        filters = torch.arange(len(flat), device=flat.device).repeat_interleave(flat)
        rank = torch.arange(len(filters), device=flat.device) - (flat.cumsum(0) - flat)[filters]
        self.num_units = max(1, int(flat.max()))
        self.counts, self.places = counts.to(torch.int32), filters * self.num_units + rank
        self.coordinates = (2 * self.places[:, None] + torch.arange(2, device=flat.device)).flatten()
        for name in ("weight", "displacement", "sigma"):
            units = getattr(self, name)
            if isinstance(units, Tensor) and len(units) != len(filters):
                new = nn.Parameter(units.new_zeros(len(filters), *units.shape[1:]), units.requires_grad)
                setattr(self, name, new)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        counts = state_dict.get(f"{prefix}counts")
        if isinstance(counts, Tensor) and counts.shape == self.counts.shape and not counts.is_meta:
            device = counts.device if self.counts.is_meta else self.counts.device
            self._set_counts(counts.to(device, copy=True))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults, and the number of remaining units."""
        return f"{super().extra_repr()}, {self.weight.numel()} units in {self.counts.numel()} filters"


def weak_units(model: nn.Module, threshold: float) -> dict[str, tuple[int, int]]:
    """Count the units that :func:`prune_units_` would remove.

    Args:
        model: a unit layer, or a model with some.
        threshold: fraction of the largest absolute weight, as in :func:`prune_units_`.

    Returns:
        The number of weak units and the number of all units, by the name of the layer.

    Raises:
        TypeError: the threshold is not a number.
        ValueError: the model has no unit layers, the threshold does not fit, or a weight is not finite.
    """
    unit_layers(model)
    weak = {}
    for name, layer in model.named_modules():
        if isinstance(layer, DAUConv2d):
            all_units = _present(layer)
            weak[name] = int((all_units & ~_kept(layer, threshold, name)).sum()), int(all_units.sum())
    return weak


def prune_units_(model: Model, threshold: float, *, merge: float | None = None) -> Model:
    """Remove the units of a model that weigh little, so that filters have different numbers of units.

    Every filter keeps its place, even without any unit. Training can continue with the remaining units; create a new
    optimizer, because the parameters are new ones.

    Args:
        model: the model, changed in place; :class:`PrunedDAUConv2d` replaces its unit layers.
        threshold: fraction of the largest absolute weight in a layer, at least 0 and less than 1. Units of smaller
            absolute weight are removed.
        merge: distance in pixels. First, units of a filter at most this far apart become one. It has the sum of their
            weights, and the place and sigma of the stronger one. The threshold applies to the result. Default: no unit
            is merged.

    Returns:
        ``model``.

    Raises:
        TypeError: ``threshold`` or ``merge`` is not a number.
        ValueError: the model has no unit layers, or parametrized ones, ``threshold`` or ``merge`` does not fit, or a
            weight is not finite.

    Reference:
        Section 4.2 and Table 2 of the paper.

    Example:
        >>> model = torchdau.prune_units_(nn.Sequential(torchdau.DAUConv2d(16, 16, num_units=4)), 0.5)
        >>> model[0].weight.numel() < 16 * 16 * 4
        True
    """
    if merge is not None:
        check_number("merge", merge, 0, float("inf"))
    check_plain(model)
    new: dict[nn.Module, PrunedDAUConv2d] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, DAUConv2d):
            new[layer] = pruned = _pruned(layer, threshold, merge, name)
            before = int(_present(layer).sum())
            logger.info("%s: %d of %d units removed", name, before - pruned.weight.numel(), before)
    return replace_(model, new)


def _present(layer: DAUConv2d) -> Tensor:
    """Return which units of a layer exist, shape (O, I / groups, K)."""
    if isinstance(layer, PrunedDAUConv2d):
        return torch.arange(layer.num_units, device=layer.counts.device) < layer.counts[:, :, None]
    return torch.ones_like(layer.weight, dtype=torch.bool)


def _kept(layer: DAUConv2d, threshold: float, name: str, weight: Tensor | None = None) -> Tensor:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise TypeError(f"threshold must be a number, got threshold={threshold!r}.")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be at least 0 and less than 1, a fraction, got threshold={threshold}.")
    strength = (layer.units()[0] if weight is None else weight).detach().abs()
    if not strength.isfinite().all():
        raise ValueError(f"model must have finite weights, got NaN or infinity in layer {name!r}.")
    return _present(layer) & (strength >= threshold * strength.max())


@torch.no_grad()
def _pruned(layer: DAUConv2d, threshold: float, merge: float | None, name: str) -> PrunedDAUConv2d:
    layer.clip_parameters_()
    weight, displacement, sigma = layer.units()
    kept = _kept(layer, threshold, name)
    if merge is not None:
        weight, merged = _merged(weight, displacement, _present(layer), merge)
        kept = _kept(layer, threshold, name, weight) & ~merged
    pruned = PrunedDAUConv2d(kept.sum(2), **layer.arguments())
    pruned.weight.copy_(weight[kept])
    pruned.displacement.copy_(displacement[kept])
    if isinstance(pruned.sigma, Tensor) and isinstance(sigma, Tensor):
        pruned.sigma.copy_(sigma[kept])
    pruned.bias = layer.bias
    for parameter_name, parameter in layer.named_parameters():
        pruned.get_parameter(parameter_name).requires_grad_(parameter.requires_grad)
    keep_kernel_size(pruned, layer)
    return pruned.train(layer.training)


def _merged(weight: Tensor, displacement: Tensor, present: Tensor, distance: float) -> tuple[Tensor, Tensor]:
    """Add the weights of near units to a stronger one; return all weights, and which units were merged away."""
    order = weight.abs().masked_fill(~present, -1).argsort(2, descending=True)
    weight = weight.gather(2, order).clone()
    places = displacement.gather(2, order[..., None].expand_as(displacement))
    present, merged = present.gather(2, order), torch.zeros_like(present)
    for k in range(weight.shape[2]):
        for other in range(k + 1, weight.shape[2]):
            near = torch.linalg.vector_norm(places[:, :, k] - places[:, :, other], dim=-1) <= distance
            near &= present[:, :, other] & ~merged[:, :, k] & ~merged[:, :, other]
            weight[:, :, k] += torch.where(near, weight[:, :, other], 0)
            weight[:, :, other].masked_fill_(near, 0)
            merged[:, :, other] |= near
    back = order.argsort(2)
    return weight.gather(2, back), merged.gather(2, back)
