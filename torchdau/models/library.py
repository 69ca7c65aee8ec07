"""Plain networks of other libraries, by name; never with weights, so nothing is downloaded."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

LIBRARIES = ("timm", "torchvision", "torchdau")


def library_model(name: str, **arguments: Any) -> nn.Module:
    """Create a network of timm, torchvision or this package, with new weights.

    Args:
        name: ``"timm/NAME"`` as in ``timm.list_models()``, ``"torchvision/NAME"`` as in
            ``torchvision.models.list_models()``, or ``"torchdau/NAME"``, a function of :mod:`torchdau.models`.
        **arguments: arguments of the library's own function, such as ``num_classes``.

    Returns:
        The network.

    Raises:
        TypeError: an argument asks for weights.
        ValueError: there is no such network.

    Example:
        >>> library_model("torchdau/cifarnet", num_classes=3).classifier.out_features
        3
    """
    if not isinstance(name, str) or name.partition("/")[0] not in LIBRARIES or not name.partition("/")[2]:
        raise ValueError(f"name must be LIBRARY/MODEL with one of {', '.join(LIBRARIES)}, got name={name!r}.")
    library, _, model = name.partition("/")
    make = {"timm": _of_timm, "torchvision": _of_torchvision, "torchdau": _of_torchdau}[library](model)
    if make is None:
        raise ValueError(f"name must be that of a model, got name={name!r}, which {library} does not know.")
    weights = [key for key in arguments if "pretrained" in key or "weights" in key or key == "checkpoint_path"]
    if weights:
        raise TypeError(f"arguments must not ask for weights, got {weights[0]!r} for {name}. Load them afterwards.")
    return make(**arguments)


Make = Callable[..., nn.Module] | None


def _of_timm(name: str) -> Make:
    import timm

    return (lambda **arguments: timm.create_model(name, **arguments)) if timm.is_model(name) else None


def _of_torchvision(name: str) -> Make:
    from torchvision import models

    if name not in models.list_models():
        return None
    make: Callable[..., nn.Module] = models.get_model_builder(name)
    none = {key: None for key in inspect.signature(make).parameters if key in ("weights", "weights_backbone")}
    return lambda **arguments: make(**none, **arguments)


def _of_torchdau(name: str) -> Make:
    from torchdau import models

    builders = set(models.__all__) - {library_model.__name__, "classifier", "dau_classifier"}
    return getattr(models, name) if name in builders and name.islower() else None
