"""Where the units of each layer of a model stand; numbers only."""

from dataclasses import dataclass

from torch import Tensor, nn

from torchdau.conv import DAUConv2d


@dataclass(frozen=True)
class LayerUnits:
    """The units of one layer, U = O * I * K of them, or those that are left where it was pruned.

    Attributes:
        name: name of the layer in the model.
        displacement: positions (y, x) in pixels, shape (U, 2).
        weight: amplitudes, shape (U,).
        max_displacement: bound of the positions in pixels.
    """

    name: str
    displacement: Tensor
    weight: Tensor
    max_displacement: float


def units_of(model: nn.Module) -> list[LayerUnits]:
    """The units of all unit layers of a model, in the order of the layers.

    Example:
        >>> [units.displacement.shape for units in units_of(nn.Sequential(torchdau.DAUConv2d(3, 8, num_units=2)))]
        [torch.Size([48, 2])]
    """
    return [
        LayerUnits(
            name,
            module.displacement.detach().reshape(-1, 2).cpu(),
            module.weight.detach().flatten().cpu(),
            module.max_displacement,
        )
        for name, module in model.named_modules()
        if isinstance(module, DAUConv2d)
    ]
