"""Classifiers for images of one's own: networks of other libraries, plain or with units."""

from torch import nn

from torchdau.models.library import library_model
from torchdau.surgery import convert_


def classifier(name: str, num_classes: int, pretrained: bool = False) -> nn.Module:
    """Create a network of timm or torchvision for images of these classes.

    Args:
        name: ``"timm/NAME"`` or ``"torchvision/NAME"``, as for :func:`library_model`.
        num_classes: number of classes.
        pretrained: whether to start from timm's trained weights, which are downloaded. The checkpoints of a training
            contain its own weights, so this happens only once.

    Returns:
        The network.

    Raises:
        ValueError: there is no such network, ``pretrained`` is asked of another library than timm, or the weights
            cannot be loaded.

    Example:
        >>> classifier("timm/resnet18", num_classes=3).fc.out_features
        3
    """
    if not pretrained:
        network = library_model(name, num_classes=num_classes)
        network.num_classes = num_classes  # type: ignore[assignment]  # torchvision's do not say
        return network
    library, _, model = str(name).partition("/")
    if library != "timm":
        raise ValueError(f"pretrained must be false for networks of other libraries than timm, got name={name!r}.")
    import timm

    if not timm.is_model(model):
        raise ValueError(f"name must be that of a model, got name={name!r}, which timm does not know.")
    try:
        trained: nn.Module = timm.create_model(model, pretrained=True, num_classes=num_classes)
    except Exception as error:  # of whatever kind: the hub has many
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(
            f"pretrained must be false where the weights of {name} cannot be loaded, got {why} Connect, or download "
            "them before."
        ) from error
    return trained


def dau_classifier(
    name: str,
    num_classes: int,
    num_units: int | None = None,
    pretrained: bool = False,
    max_displacement: float | None = None,
) -> nn.Module:
    """Create a network of timm or torchvision for images of these classes, with units in place of its convolutions.

    Args:
        name: ``"timm/NAME"`` or ``"torchvision/NAME"``, as for :func:`library_model`.
        num_classes: number of classes.
        num_units: units per filter. Default: as in :func:`torchdau.convert_`. Four keep most of what trained
            kernels know.
        pretrained: whether to start from timm's trained weights, which are downloaded. Units then start from the
            trained kernels, and a displacement learning rate of 0.01 pixels fits better than 0.05.
        max_displacement: bound of the displacements in pixels. Default: as in :func:`torchdau.convert_`.

    Returns:
        The network.

    Raises:
        ValueError: there is no such network, or ``pretrained`` is asked of another library than timm.

    Example:
        >>> type(dau_classifier("timm/resnet18", num_classes=3).layer1[0].conv1).__name__
        'DAUConv2d'
    """
    plain = classifier(name, num_classes, pretrained)
    return convert_(plain, num_units, init="fit" if pretrained else "uniform", max_displacement=max_displacement)
