"""Selection of the layers in a plot."""

from collections.abc import Sequence

from torch import nn

from torchdau.analysis.displacements import LayerUnits, units_of


def shown(model: nn.Module, layers: Sequence[str] | None) -> list[LayerUnits]:
    """Return the units of the named layers of a model, or of all layers.

    Raises:
        ValueError: the model has no unit layer, or no layer of such a name.
    """
    found = {units.name: units for units in units_of(model)}
    if not found:
        raise ValueError("model must have at least one DAUConv2d layer, got model with none.")
    unknown = [name for name in layers or () if name not in found]
    if unknown:
        raise ValueError(
            f"layers must be names of unit layers of the model, {', '.join(map(repr, found))}, got {unknown[0]!r}."
        )
    return [found[name] for name in layers or found]
