"""Bounds of learned values: clipping in a forward pass, clipping in place, and checks on loading."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def bounded(values: Tensor, low: float, high: float) -> Tensor:
    """Clip values to low..high and pass the gradient through; values that are not finite become NaN, never a bound."""
    if not torch.is_grad_enabled():
        return values.clamp(low, high).add_(values, alpha=0)  # infinity times 0 is NaN
    return values.detach().clamp(low, high).add_(values - values.detach())


def bound_(values: Tensor, low: float, high: float) -> None:
    """Clip values in place, as :func:`bounded` does."""
    values.add_(values, alpha=0).clamp_(low, high)


def check_loaded(state_dict: dict[str, Any], prefix: str, bounds: Mapping[str, tuple[float, float]]) -> str | None:
    """Check the values of a state dict against their bounds, and convert them to float32 or better.

    Args:
        state_dict: state dict to check, changed in place so that ``assign=True`` keeps the precision.
        prefix: prefix of the layer's names in the state dict.
        bounds: smallest and largest allowed value for each name.

    Returns:
        An error message with the remedy, or None if all values fit.
    """
    for name, (low, high) in bounds.items():
        key = prefix + name
        values = state_dict.get(key)
        if not isinstance(values, Tensor):
            continue
        state_dict[key] = values.to(torch.promote_types(values.dtype, torch.float32))
        if values.is_meta or not values.numel():
            continue
        if not values.isfinite().all():
            return f"{key} must be finite, got NaN or infinity in the state dict."
        least, most = torch.tensor([low, high], dtype=values.dtype).tolist()  # rounded to the type of the values
        smallest, largest = values.amin().item(), values.amax().item()
        if smallest < least or largest > most:
            return (
                f"{key} must be between {low} and {high} pixels, got values from {smallest} to {largest} in the state "
                f"dict. Make the layer with the max_{name} that it was saved with."
            )
    return None
