"""Models with unit layers in safetensors files, which hold the weights and describe how to create the model again."""

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
from torchdau.whole import whole_file

FORMAT = 1
"""Version of the file format; it increases when earlier versions of torchdau would misread new files."""

LAYERS = {"DAUConv2d": DAUConv2d, "PrunedDAUConv2d": PrunedDAUConv2d}

WRAPPERS = {"OptimizedModule": "_orig_mod", "DistributedDataParallel": "module", "DataParallel": "module"}
"""Modules of torch.compile and of distributed training that change the names in a state dict."""


def save_model(
    model: nn.Module, file: str | os.PathLike[str], architecture: str | None = None, **arguments: Any
) -> None:
    """Save a converted or pruned model in a safetensors file that describes how to create it again.

    The header of the file describes every unit layer. :func:`load_model` puts the same layers into a plain model and
    then loads the weights, whatever calls of :func:`convert_`, :func:`rescale_` and :func:`prune_units_` led to them.
    The file stores no code, and loading runs only the code of the named library. Like a state dict, the file leaves out
    hooks and ``requires_grad``.

    Args:
        model: the model.
        file: path of the file. The new file replaces an older one when it is complete.
        architecture: name of the plain model, as for :func:`torchdau.models.library_model`: ``"timm/resnet18"``,
            ``"torchvision/deeplabv3_resnet50"``. Default: None; loading then needs a plain model to fill.
        **arguments: arguments of the architecture, such as ``num_classes=10``: numbers, strings, lists.

    Raises:
        FileNotFoundError: the folder does not exist.
        ImportError: safetensors is not installed.
        OSError: the file cannot be written, as on a full disk; one that was there is kept.
        TypeError: an argument of the architecture cannot be stored.
        ValueError: the model has no unit layers, is wrapped by ``torch.compile`` or DDP, a displacement or sigma is not
            finite, or the architecture cannot be converted to this model.

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
            _compare(plain, state, "the model to save", architecture, "your model")
        except ValueError as error:
            raise ValueError(
                f"architecture must be that of the model, got {architecture!r}: {error}. Arguments of the architecture "
                "follow its name: save_model(model, file, architecture, num_classes=10)."
            ) from error
    with whole_file(file) as part:
        part.touch()
        mode = part.stat().st_mode  # the mode of any new file; safetensors would make it for its owner only
        try:
            safetensors.torch.save_model(model, str(part), metadata={"format": "pt", "torchdau": header})
        except safetensors.SafetensorError as error:
            raise OSError(f"file {str(file)!r} cannot be written: {error}.") from error
        part.chmod(mode)


def load_model(file: str | os.PathLike[str], model: nn.Module | None = None) -> nn.Module:
    """Load a model that :func:`save_model` wrote.

    Args:
        file: path of the file.
        model: plain model that receives the unit layers and the weights, as it was before :func:`convert_`; it stays
            unchanged if it does not fit. Default: the architecture that the file names.

    Returns:
        The new model on the CPU, or ``model`` on its own device, with weights of the types in the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: safetensors, or the library of the architecture, is not installed.
        ValueError: the file is damaged, was not written by :func:`save_model`, names no architecture although no model
            is given, or does not fit the model.
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
        try:
            model = library_model(architecture, **arguments)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"file must name an architecture that can be made, got {architecture!r} in file={str(file)!r}: {error}"
            ) from error
    devices = {parameter.device for parameter in model.parameters()}
    if torch.device("meta") in devices:
        raise ValueError("model must have its weights in memory, got some on the meta device. Make it on the CPU.")
    for layer in layers.values():
        layer.to(next(iter(devices), torch.device("cpu")))
    replaced = _place(model, layers)
    try:
        _compare(model, saved, f"file={str(file)!r}", "the model", "the file")
    except ValueError as error:
        for parent, child, module in replaced:
            setattr(parent, child, module)
        raise ValueError(f"{error}. Make the plain model with the arguments that it had.") from None
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in saved:
            tensor.data = tensor.data.to(saved[name].dtype)
    model.load_state_dict(saved)
    return model


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise ImportError("safetensors must be installed. Install it with: pip install safetensors") from error
    return safetensors


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header and the tensors of a file."""
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
    """Describe the unit layers of a model by their names, class and arguments."""
    if isinstance(model, DAUConv2d):
        raise ValueError(f"model must contain its layers, got a bare {type(model).__name__}. Wrap it in nn.Sequential.")
    if inner := WRAPPERS.get(type(model).__name__):
        raise ValueError(f"model must not be wrapped, got a {type(model).__name__}. Pass model.{inner}.")
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
    """Create the layers of a recipe, by name, with the saved weights; shared layers are one module."""
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
    """Put unit layers into a plain model; return the modules that they replace, with their parents and names."""
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


def _compare(model: nn.Module, saved: Mapping[str, Tensor], source: str, plain: str, own: str) -> None:
    """Raise ValueError unless the tensors of a model and of another have the same names and shapes.

    Args:
        model: the model.
        saved: the tensors of the other.
        source: what these belong to, for the message.
        plain: a name for the model.
        own: a name for the other.
    """
    found = model.state_dict()
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (found, saved)]
    differing = [name for name in sorted(found.keys() | saved.keys()) if shapes[0].get(name) != shapes[1].get(name)]
    if differing:
        has, needs = (each.get(differing[0], "missing") for each in shapes)
        raise ValueError(
            f"model must have the tensors of {source}, got {len(differing)} that differ: {differing[0]!r} is {has} in "
            f"{plain} and {needs} in {own}"
        )
