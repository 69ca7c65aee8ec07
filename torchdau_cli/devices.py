"""Which device a command computes on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def chosen_device(name: str | None) -> "torch.device":
    """Return the device of a name, or the accelerator of this machine, or its CPU.

    Raises:
        ValueError: there is no such device.
    """
    import torch

    try:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        device = torch.device(name) if name else accelerator or torch.device("cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be cpu, cuda, mps or another device of this machine, got {name!r}.") from error
    return device
