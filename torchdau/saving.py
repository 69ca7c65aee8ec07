"""Models with unit layers in safetensors files: the weights, and what is needed to make the model again."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchdau.arguments import check_model
from torchdau.conv import DAUConv2d
from torchdau.models.library import library_model
from torchdau.surgery.prune import PrunedDAUConv2d
from torchdau.surgery.replace import has_hooks, keep_kernel_size, unit_layers
from torchdau.surgery.units import Pooled

FORMAT = 1
"""Raised when files are written that earlier versions would misread."""

LAYERS = {"DAUConv2d": DAUConv2d, "PrunedDAUConv2d": PrunedDAUConv2d}


def save_model(
    model: nn.Module, file: str | os.PathLike[str], architecture: str | None = None, **arguments: Any
) -> None:
    """Writes a converted or pruned model to a safetensors file that says how to make it again.

    The header of the file describes every unit layer, so :func:`load_model` puts the same layers into a plain model and
    then loads the weights, whatever calls of :func:`convert_`, :func:`rescale_` and :func:`prune_units_` led to them.
    No code is stored, and none is run on loading but that of the named library. What is not in a state dict is not in
    the file either, as hooks and ``requires_grad``.

    Args:
        model: the model.
        file: where to write. An older file is replaced when the new one is complete.
        architecture: how to make the plain model, as for :func:`torchdau.models.library_model`: ``"timm/resnet18"``,
            ``"torchvision/deeplabv3_resnet50"``. Default: none, then loading takes a plain model to fill.
        **arguments: arguments of the architecture, ``num_classes=10``; numbers, strings, lists.

    Raises:
        FileNotFoundError: the folder is not there.
        ImportError: safetensors is not installed.
        TypeError: an argument of the architecture cannot be written down.
        ValueError: there are no unit layers, a displacement or sigma is not finite, or the architecture does not make a
            model that this one could have been converted from.

    Example:
        >>> from torchdau.models import library_model
        >>> model = torchdau.convert_(library_model("torchdau/cifarnet", image_size=8))
        >>> file = getfixture("tmp_path") / "model.safetensors"
        >>> torchdau.save_model(model, file, "torchdau/cifarnet", image_size=8)
        >>> torchdau.load_model(file).features[0]
        DAUConv2d(3, 96, num_units=2, bias=False)
    """
    safetensors = _safetensors()
    check_model(model)
    file = Path(file)
    if not file.parent.is_dir():
        raise FileNotFoundError(f"file must be in a folder that exists, got file={str(file)!r}. Make the folder first.")
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
        recipe, state = json.loads(header), model.state_dict()
        with torch.device("meta"):
            plain = library_model(architecture, **recipe["architecture"]["arguments"])
        try:
            _place(plain, _layers(recipe, state))
            _compare(plain, state, "the model to save")
        except ValueError as error:
            raise ValueError(f"architecture must be that of the model, got {architecture!r}: {error}") from error
    part = file.with_name(f".{file.name}.part")
    try:
        part.touch()
        mode = part.stat().st_mode  # of a new file, which safetensors would make for its owner only
        safetensors.torch.save_model(model, str(part), metadata={"format": "pt", "torchdau": header})
        part.chmod(mode)
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
    file = Path(file)
    recipe, saved = _read(file)
    try:
        layers = _layers(recipe, saved)
        named = recipe["architecture"] or {"name": None, "arguments": {}}
        architecture, arguments = named["name"], dict(named["arguments"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"file must be undamaged, got file={str(file)!r}: {error!r}.") from error
    if model is None:
        if architecture is None:
            raise ValueError(f"model must be given for a file without architecture, got none for file={str(file)!r}.")
        model = library_model(architecture, **arguments)
    devices = {parameter.device for parameter in model.parameters()}
    if torch.device("meta") in devices:
        raise ValueError("model must have its weights in memory, got some on the meta device. Make it on the CPU.")
    for layer in layers.values():
        layer.to(next(iter(devices), torch.device("cpu")))
    replaced = _place(model, layers)
    try:
        _compare(model, saved, f"file={str(file)!r}")
    except ValueError:
        for parent, child, module in replaced:
            setattr(parent, child, module)
        raise
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in saved:
            tensor.data = tensor.data.to(saved[name].dtype)
    model.load_state_dict(saved)
    return model


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise ImportError('safetensors must be installed. Install it with: pip install "torchdau[hub]"') from error
    return safetensors


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a file."""
    safetensors = _safetensors()
    if not file.is_file():
        raise FileNotFoundError(f"file must be a safetensors file, got file={str(file)!r}, which is not there.")
    try:
        with safetensors.safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            saved = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  not a mapping
    except safetensors.SafetensorError as error:
        raise ValueError(f"file must be a whole safetensors file, got file={str(file)!r}: {error}.") from error
    if "torchdau" not in metadata:
        raise ValueError(f"file must be written by torchdau.save_model, got file={str(file)!r}, which is not.")
    try:
        recipe: dict[str, Any] = json.loads(metadata["torchdau"])
        new = recipe["format"] > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"file must be undamaged, got file={str(file)!r}: {error!r}.") from error
    if new:
        raise ValueError(
            f"file must be of format {FORMAT} or older, got file={str(file)!r} of format {recipe['format']}. Install "
            "a newer torchdau."
        )
    tied = {name: saved[kept] for name, kept in metadata.items() if name not in ("format", "torchdau")}
    return recipe, saved | tied


def _describe(model: nn.Module) -> list[dict[str, Any]]:
    """The unit layers of a model: where they are, of which class, and their arguments."""
    if isinstance(model, DAUConv2d):
        raise ValueError(f"model must contain its layers, got a bare {type(model).__name__}. Wrap it in nn.Sequential.")
    names: dict[DAUConv2d, list[str]] = {layer: [] for layer in unit_layers(model)}
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        if isinstance(module, DAUConv2d):
            names[module].append(name)
    described = []
    for layer, places in names.items():
        if type(layer) not in LAYERS.values():
            raise ValueError(f"model must have layers of this package, got a {type(layer).__name__} in {places[0]!r}.")
        for name, parameter in layer.named_parameters():
            if name in ("displacement", "sigma") and not parameter.isfinite().all():
                raise ValueError(f"model must have finite units, got NaN or infinity in {places[0]}.{name}.")
        arguments = layer.arguments()
        del arguments["device"]
        arguments["dtype"] = str(arguments["dtype"]).removeprefix("torch.")
        above = modules[places[0].rpartition(".")[0]]
        stride = list(above.stride) if isinstance(above, Pooled) else None
        described.append({"names": places, "class": type(layer).__name__, "arguments": arguments, "pooled": stride})
    return described


def _layers(recipe: Mapping[str, Any], saved: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """What a recipe puts into a plain model, by name, with the saved weights; shared layers are one."""
    placed: dict[str, nn.Module] = {}
    for unit in recipe["units"]:
        first, *_ = unit["names"]
        arguments = unit["arguments"] | {"dtype": getattr(torch, unit["arguments"]["dtype"])}
        if unit["class"] == "PrunedDAUConv2d":
            arguments["counts"] = saved[f"{first}.counts"]
        layer = LAYERS[unit["class"]](**arguments)
        layer.load_state_dict({name: saved[f"{first}.{name}"] for name in layer.state_dict()})
        if unit["pooled"] is None:
            placed |= dict.fromkeys(unit["names"], layer)
        else:
            pooled = Pooled(unit["pooled"], layer)
            placed |= dict.fromkeys((name.removesuffix(".1") for name in unit["names"]), pooled)
    return placed


def _place(model: nn.Module, new: Mapping[str, nn.Module]) -> list[tuple[nn.Module, str, nn.Module]]:
    """Puts unit layers into a plain model; returns what was where."""
    plain = dict(model.named_modules(remove_duplicate=False))
    for name in new:
        if name not in plain:
            raise ValueError(f"model must have a layer {name!r} to become units, got {type(model).__name__} without.")
        if has_hooks(plain[name]):
            raise ValueError(f"model must have no hooks where layers are replaced, got some in {name!r}. Remove them.")
    replaced = []
    for name, module in new.items():
        parent, _, child = name.rpartition(".")
        keep_kernel_size(module[1] if isinstance(module, Pooled) else module, plain[name])
        setattr(plain[parent], child, module.train(plain[name].training))
        replaced.append((plain[parent], child, plain[name]))
    return replaced


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
