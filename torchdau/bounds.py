"""Bounds of learned values: clipping in a forward pass and in place, and the part of a layer that keeps them."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from torchdau.arguments import is_observed, under_transform
from torchdau.profile import MIN_SIGMA


def bounded(values: Tensor, low: float, high: float) -> Tensor:
    """Clip values to low..high and pass the gradient through; values that are not finite become NaN, never a bound."""
    if _within(values, low, high):
        return values
    if not torch.is_grad_enabled():
        return values.clamp(low, high).add_(values, alpha=0)  # infinity times 0 is NaN
    return values.detach().clamp(low, high).add_(values - values.detach())


def bound_(values: Tensor, low: float, high: float) -> None:
    """Clip values in place, as :func:`bounded` does."""
    if _within(values, low, high):
        return
    values.add_(values, alpha=0).clamp_(low, high)


def _within(values: Tensor, low: float, high: float) -> bool:
    """Return whether there is nothing to clip. Only on a CPU is it faster to find out than to clip."""
    if values.device.type != "cpu" or is_observed(values) or under_transform(values) or not values.numel():
        return False
    least, most = torch.aminmax(values.detach())
    return least.item() >= low and most.item() <= high


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


class Bounded(nn.Module):
    """The part of a unit layer that keeps the bounds and the precision of its learned values.

    Displacements and learned sigmas are within their bounds in every state dict, and stay in float32 or better.

    Attributes:
        displacement: positions in pixels.
        sigma: width in pixels, or the parameter if it is learned.
        max_displacement: bound of the displacements in pixels.
        max_sigma: bound of a learned sigma in pixels.
    """

    displacement: nn.Parameter
    sigma: nn.Parameter | float
    max_displacement: float
    max_sigma: float

    def clip_parameters_(self) -> None:
        """Clip displacements and learned sigmas to their bounds, which an optimizer step can exceed."""
        # Through .data, because a layer may run twice before a backward pass, and because FSDP hands out views.
        for name, (low, high) in self._bounds().items():
            values = getattr(self, name)
            if isinstance(values, Tensor):
                bound_(values.data, low, high)

    def _bounds(self) -> dict[str, tuple[float, float]]:
        """Return the smallest and the largest value of each bounded parameter."""
        return {
            "displacement": (-self.max_displacement, self.max_displacement),
            "sigma": (MIN_SIGMA, self.max_sigma),
        }

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {id(t) for p in (self.displacement, self.sigma) if isinstance(p, Tensor) for t in (p, p.grad)}

        def keep_precision(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if id(tensor) in kept and torch.finfo(result.dtype).bits < 32:
                return tensor.to(result.device)
            return result

        super()._apply(keep_precision, recurse)
        return self

    def _save_to_state_dict(self, *args: Any) -> None:
        self.clip_parameters_()
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        error_msgs: list[str] = args[-1]
        state_dict = dict(state_dict)
        if f"{prefix}counts" in state_dict and "counts" not in self._buffers:
            error_msgs.append(
                f"{prefix}weight was saved by a pruned layer. Apply prune_units_(model, 0) before loading."
            )
            return
        kernels = state_dict.get(f"{prefix}weight")
        if isinstance(kernels, Tensor) and kernels.ndim == 4:
            error_msgs.append(
                f"{prefix}weight is of an nn.Conv2d. Load it into the plain model, and then call convert_(model, "
                "init='fit')."
            )
            return
        if error := check_loaded(state_dict, prefix, self._bounds()):
            error_msgs.append(error)
            return
        super()._load_from_state_dict(state_dict, prefix, *args)
