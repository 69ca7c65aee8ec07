"""The base class of networks that may have units."""

from torch import nn


class Network(nn.Module):
    """A network that names the parameters that must not decay, as :func:`torchdau.convert_` does for others.

    timm's ``create_optimizer_v2`` asks for them.
    """

    def no_weight_decay(self) -> set[str]:
        """Return patterns for the names of displacements and sigmas."""
        return {"*.displacement", "*.sigma"}
