"""The unit layers of a model, and the replacement of its modules by others."""

from collections.abc import Mapping
from typing import TypeVar

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from torchdau.arguments import check_model
from torchdau.conv import DAUConv2d

Model = TypeVar("Model", bound=nn.Module)


def keep_kernel_size(new: nn.Module, old: nn.Module) -> None:
    """Copy kernel size and dilation to a new layer, because some models pad images by them."""
    for name in ("kernel_size", "dilation"):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))


def unit_layers(model: nn.Module) -> list[DAUConv2d]:
    """Return the unit layers of a model; raise ValueError if there are none."""
    check_model(model)
    layers = [module for module in model.modules() if isinstance(module, DAUConv2d)]
    if not layers:
        raise ValueError(f"model must have unit layers, got {type(model).__name__} with none. Convert it first.")
    return layers


def check_plain(model: nn.Module) -> list[DAUConv2d]:
    """Return the unit layers of a model; raise ValueError if there are none, or parameters computed from others."""
    layers = unit_layers(model)
    for name, layer in model.named_modules():
        if layer in layers and is_parametrized(layer):
            raise ValueError(
                f"model must have unit layers with parameters of their own, got a parametrized one in {name!r}. Remove "
                "the weight norm or parametrization."
            )
    return layers


def replace_(model: Model, new: Mapping[nn.Module, nn.Module]) -> Model:
    """Replace modules everywhere in a model by others; the model itself must not be one of them."""
    if model in new:
        raise ValueError(f"model must contain its layers, got a bare {type(model).__name__}. Wrap it in nn.Sequential.")
    for name, module in model.named_modules():
        if module in new and has_hooks(module):
            raise ValueError(f"model must have no hooks where layers are replaced, got some in {name!r}. Remove them.")
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and child in new:
                setattr(parent, name, new[child])
    return model


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks, which would be lost with it."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))
