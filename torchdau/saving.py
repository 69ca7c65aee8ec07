"""Models with unit layers in safetensors files: the weights, and what is needed to make the model again."""

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from torchdau.conv import DAUConv2d
from torchdau.models.library import library_model
from torchdau.prune import PrunedDAUConv2d
from torchdau.surgery import keep_kernel_size, pooled_units, unit_layers

Model = TypeVar("Model", bound=nn.Module)

FORMAT = 1
"""Raised when files are written that earlier versions would misread."""

LAYERS = {"DAUConv2d": DAUConv2d, "PrunedDAUConv2d": PrunedDAUConv2d}


def save_model(
    model: nn.Module, file: str | os.PathLike[str], architecture: str | None = None, **arguments: Any
) -> None:
    """Writes a converted or pruned model to a safetensors file that says how to make it again.

    The header of the file describes every unit layer, so :func:`load_model` puts the same layers into a plain model and
    then loads the weights, whatever calls of :func:`convert_`, :func:`rescale_` and :func:`prune_units_` led to them.
    No code is stored, and none is run on loading but that of the named library.

    Args:
        model: the model.
        file: where to write. An older file is replaced when the new one is complete.
        architecture: how to make the plain model, as for :func:`torchdau.models.library_model`: ``"timm/resnet18"``,
            ``"torchvision/deeplabv3_resnet50"``. Default: none, then loading takes a plain model to fill.
        **arguments: arguments of the architecture, ``num_classes=10``; numbers, strings, lists.

    Raises:
        ImportError: safetensors is not installed.
        ValueError: the architecture does not make a model that this one could have been converted from.
        TypeError: an argument of the architecture cannot be written down.

    Example:
        >>> from torchdau.models import library_model
        >>> model = torchdau.convert_(library_model("torchdau/cifarnet", image_size=8))
        >>> file = getfixture("tmp_path") / "model.safetensors"
        >>> torchdau.save_model(model, file, "torchdau/cifarnet", image_size=8)
        >>> torchdau.load_model(file).features[0]
        DAUConv2d(3, 96, num_units=2, bias=False)
    """
    from safetensors import torch as safetensors

    recipe: dict[str, Any] = {"format": FORMAT, "architecture": None, "units": _describe(model)}
    if architecture is not None:
        recipe["architecture"] = {"name": architecture, "arguments": arguments}
    elif arguments:
        raise ValueError(f"arguments must belong to an architecture, got {min(arguments)!r} without one. Name it.")
    try:
        header = json.dumps(recipe)
    except TypeError as error:
        raise TypeError(f"arguments of the architecture must be numbers, strings and lists: {error}.") from error
    if architecture is not None:
        with torch.device("meta"):
            plain = library_model(architecture, **arguments)
        _place(plain, _layers(recipe["units"], model.state_dict()))
        _compare(plain, model.state_dict(), "the saved one")
    file = Path(file)
    part = file.with_name(f"{file.name}.part")
    try:
        safetensors.save_model(model, str(part), metadata={"format": "pt", "torchdau": header})
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def load_model(file: str | os.PathLike[str], model: nn.Module | None = None) -> nn.Module:
    """Makes the model that :func:`save_model` wrote.

    Args:
        file: the file.
        model: a plain model to put the unit layers and the weights into, as it was before :func:`convert_`; it is
            left as it was if it does not fit. Default: the architecture that the file names.

    Returns:
        The model on the CPU, or ``model`` where it is, with weights of the types in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: safetensors, or the library of the architecture, is not installed.
        ValueError: the file is damaged, was not written by :func:`save_model`, names no architecture where no model is
            given, or does not fit the model.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"file must be a safetensors file, got file={str(file)!r}, which is not there.")
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            saved = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  not a mapping
    except SafetensorError as error:
        raise ValueError(f"file must be a whole safetensors file, got file={str(file)!r}: {error}.") from error
    saved |= {name: saved[kept] for name, kept in metadata.items() if kept in saved}  # tied tensors are written once
    recipe = _recipe(metadata, file)
    layers = _layers(recipe["units"], saved)
    if model is None:
        if recipe["architecture"] is None:
            raise ValueError(f"model must be given for a file without architecture, got none for file={str(file)!r}.")
        model = library_model(recipe["architecture"]["name"], **recipe["architecture"]["arguments"])
    skeleton = _without_memory(model)
    _place(skeleton, copy.deepcopy(layers))
    _compare(skeleton, saved, f"file={str(file)!r}")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for layer in layers.values():
        layer.to(device)
    _place(model, layers)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in saved:
            tensor.data = tensor.data.to(saved[name].dtype)
    model.load_state_dict(saved)
    return model


def _describe(model: nn.Module) -> list[dict[str, Any]]:
    """The unit layers of a model: where they are, of which class, and their arguments."""
    if isinstance(model, DAUConv2d):
        raise ValueError(f"model must contain its layers, got a bare {type(model).__name__}. Wrap it in nn.Sequential.")
    names: dict[DAUConv2d, list[str]] = {layer: [] for layer in unit_layers(model)}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, DAUConv2d):
            names[module].append(name)
    described = []
    for layer, places in names.items():
        arguments = layer.arguments()
        del arguments["device"]
        arguments["dtype"] = str(arguments["dtype"]).removeprefix("torch.")
        described.append({"names": places, "class": type(layer).__name__, "arguments": arguments})
    return described


def _recipe(metadata: Mapping[str, str], file: Path) -> dict[str, Any]:
    if "torchdau" not in metadata:
        raise ValueError(f"file must be written by torchdau.save_model, got file={str(file)!r}, which is not.")
    try:
        recipe: dict[str, Any] = json.loads(metadata["torchdau"])
        new = recipe["format"] > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"file must have an undamaged header, got file={str(file)!r}: {error!r}.") from error
    if new:
        raise ValueError(
            f"file must be of format {FORMAT} or older, got file={str(file)!r} of format {recipe['format']}. Install "
            "a newer torchdau."
        )
    return recipe


def _layers(units: Sequence[Mapping[str, Any]], saved: Mapping[str, Tensor]) -> dict[str, DAUConv2d]:
    """The unit layers of a recipe by their names, with new weights; shared layers are one."""
    layers: dict[str, DAUConv2d] = {}
    for unit in units:
        arguments = unit["arguments"] | {"dtype": getattr(torch, unit["arguments"]["dtype"])}
        if unit["class"] == "PrunedDAUConv2d":
            arguments["counts"] = saved[f"{unit['names'][0]}.counts"]
        layers |= dict.fromkeys(unit["names"], LAYERS[unit["class"]](**arguments))
    return layers


def _place(model: nn.Module, layers: Mapping[str, DAUConv2d]) -> None:
    """Puts unit layers into a plain model, by name."""
    plain = dict(model.named_modules(remove_duplicate=False))
    pooled: dict[DAUConv2d, nn.Module] = {}
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        conv = plain.get(parent)
        if name not in plain and child == "1" and isinstance(conv, nn.Conv2d):  # it was converted with a max-pool
            place, new = parent, pooled.setdefault(layer, pooled_units(conv.stride, layer))
        else:
            place, new = name, layer
        if place not in plain:
            raise ValueError(f"model must have a layer {place!r} to become units, got {type(model).__name__} without.")
        keep_kernel_size(layer, plain[place])
        parent, _, child = place.rpartition(".")
        setattr(plain[parent], child, new.train(plain[place].training))


def _compare(model: nn.Module, saved: Mapping[str, Tensor], source: str) -> None:
    """Raises unless a model has the tensors of a file, as to names and shapes."""
    own = model.state_dict()
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (own, saved)]
    differing = [name for name in sorted(own.keys() | saved.keys()) if shapes[0].get(name) != shapes[1].get(name)]
    if differing:
        has, needs = (each.get(differing[0], "missing") for each in shapes)
        raise ValueError(
            f"model must have the tensors of {source}, got {len(differing)} that differ: {differing[0]!r} is {has} in "
            f"the model and {needs} there. Make the plain model with the arguments that it had."
        )


def _without_memory(model: Model) -> Model:
    """A copy of a model on the meta device, made without a copy of its tensors."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(model, memo)
