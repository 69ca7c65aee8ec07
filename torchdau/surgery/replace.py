"""The unit layers of a model, and other modules in the place of some of its own."""

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from torchdau.arguments import check_model
from torchdau.conv import DAUConv2d

Model = TypeVar("Model", bound=nn.Module)


def keep_kernel_size(new: nn.Module, old: nn.Module) -> None:
    """Gives a layer what some models ask their convolutions, to pad an image themselves."""
    for name in ("kernel_size", "dilation"):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))


def unit_layers(model: nn.Module) -> list[DAUConv2d]:
    """The unit layers of a model, of which there must be one."""
    check_model(model)
    layers = [module for module in model.modules() if isinstance(module, DAUConv2d)]
    if not layers:
        raise ValueError(f"model must have unit layers, got {type(model).__name__} with none. Convert it first.")
    return layers


def replace_(model: Model, new: Mapping[nn.Module, nn.Module]) -> Model:
    """Puts modules in the place of others, everywhere in the model, which must not be one of them."""
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
    """Whether something is called when the module is, which would be lost with it."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))
