"""Unit layers for another resolution."""

from torchdau.profile import MAX_DISPLACEMENT
from torchdau.surgery.replace import Model, check_plain


def rescale_(model: Model, factor: float) -> Model:
    """Scale the displacements of all unit layers and their bounds, for images or features of another resolution.

    Args:
        model: a unit layer, or a model with some.
        factor: ratio of the new resolution to the old one: 4 if two poolings by 2 before the layers are removed.

    Returns:
        ``model``.

    Raises:
        TypeError: the factor is not a number.
        ValueError: the model has no unit layers, or parametrized ones, or the factor is not above 0 or gives a bound
            above 16384 pixels.

    Reference:
        Section 4.3 of the paper, which rescales a network for segmentation.

    Example:
        >>> torchdau.rescale_(torchdau.DAUConv2d(3, 8), 2).max_displacement
        8.0
    """
    layers = check_plain(model)
    farthest = max(layer.max_displacement for layer in layers)
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise TypeError(f"factor must be a number, got factor={factor!r}.")
    if not factor > 0 or not factor * farthest <= MAX_DISPLACEMENT:
        raise ValueError(
            f"factor must be above 0 and keep max_displacement within {MAX_DISPLACEMENT} pixels, got factor={factor} "
            f"for max_displacement={farthest}."
        )
    for displacement in {layer.displacement for layer in layers}:  # each once, because layers may share one
        displacement.data.mul_(factor)
    for layer in layers:
        layer.max_displacement *= factor
    return model
