"""Plain networks of other libraries, by name; never with weights, so nothing is downloaded."""

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
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
        raise ValueError(
            f"name must be LIBRARY/MODEL with one of {', '.join(LIBRARIES)}, such as 'timm/resnet18', "
            f"got name={name!r}."
        )
    library, _, model = name.partition("/")
    names, make = {"timm": _of_timm, "torchvision": _of_torchvision, "torchdau": _of_torchdau}[library]()
    if model.partition(".")[0] not in names:  # timm names its weights after a dot
        near = get_close_matches(model, names, 1)
        hint = f" Did you mean '{library}/{near[0]}'?" if near else ""
        raise ValueError(f"name must be that of a model, got name={name!r}, which {library} does not know.{hint}")
    weights = [key for key in arguments if "pretrained" in key or "weights" in key or key == "checkpoint_path"]
    if weights:
        raise TypeError(f"arguments must not ask for weights, got {weights[0]!r} for {name}. Load them afterwards.")
    return make(model, **arguments)


Library = tuple[Sequence[str], Callable[..., nn.Module]]
"""The names of a library's models, and the function that makes one."""


def _of_timm() -> Library:
    import timm

    return timm.list_models(), timm.create_model


def _of_torchvision() -> Library:
    from torchvision import models

    def make(name: str, **arguments: Any) -> nn.Module:
        builder: Callable[..., nn.Module] = models.get_model_builder(name)
        none = {key: None for key in inspect.signature(builder).parameters if key in ("weights", "weights_backbone")}
        return builder(**none, **arguments)

    return models.list_models(), make


def _of_torchdau() -> Library:
    from torchdau import models

    builders = set(models.__all__) - {library_model.__name__, "classifier", "dau_classifier"}

    def make(name: str, **arguments: Any) -> nn.Module:
        network: nn.Module = getattr(models, name)(**arguments)
        return network

    return sorted(filter(str.islower, builders)), make
