"""Which modules the configuration in a checkpoint may name: making a class runs its code."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jsonargparse import _common, set_parsing_settings

TRUSTED = ("torchdau", "torch.nn", "torch.optim", "torchvision", "timm", "lightning", "torchmetrics")
"""Modules that every checkpoint may name."""

LOADS = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}
"""Environment variables with which torch.load runs no code, whatever its caller asks for."""

MORE = "TORCHDAU_TRUST"
"""Environment variable with further modules, separated by commas; ``--trust`` of the command sets it."""

DENIED = re.compile(r"Importing '([\w.]+)' is not allowed")
"""In messages of jsonargparse."""


class UntrustedError(ValueError):
    """A checkpoint names a class of a module that is not trusted."""


def check_trust(config: Any, checkpoint: str | os.PathLike[str]) -> None:
    """Check that a configuration names classes and functions of trusted modules only, where it names them openly.

    Args:
        config: configuration from a checkpoint: dictionaries, lists and plain values.
        checkpoint: its file, for the message.

    Raises:
        UntrustedError: it names another module.
    """
    if others := _others(config, _modules()):
        raise UntrustedError(refusal_of(others[0], checkpoint))


def trust_options(config: Any) -> str:
    """Return the options ``--trust`` with which a checkpoint of this configuration opens, after a space each."""
    modules = sorted({name.partition(".")[0] for name in _others(config, TRUSTED)})
    return "".join(f" --trust {module}" for module in modules)


@contextmanager
def only_trusted() -> Iterator[None]:
    """Let jsonargparse import trusted modules only, whichever way a value names a class."""
    before = dict(_common.parsing_settings)  # what was allowed cannot be read or taken back otherwise
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=_modules())
    try:
        yield
    finally:
        _common.parsing_settings.update(before)


@contextmanager
def only_weights() -> Iterator[None]:
    """Let torch.load read weights only, for classes that open files which a checkpoint names."""
    before = {name: os.environ.get(name) for name in LOADS}
    os.environ.update(LOADS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def refusal_of(name: str, checkpoint: str | os.PathLike[str]) -> str:
    """Say that a checkpoint names something that is not trusted."""
    return (
        f"checkpoint must name classes of {', '.join(TRUSTED)}, got {name!r} in {str(checkpoint)!r}. Its code would "
        f"run; if you trust the file, add --trust {name.partition('.')[0]}."
    )


def _others(config: Any, modules: Sequence[str]) -> list[str]:
    """Return the paths of classes and functions in a configuration that are of other modules."""
    return [
        name
        for name in _named(config)
        if "." in name and not any(name == module or name.startswith(f"{module}.") for module in modules)
    ]


def _modules() -> list[str]:
    more = (name.strip() for name in os.environ.get(MORE, "").split(","))
    return [*TRUSTED, *(name for name in more if name)]


def _named(config: Any) -> Iterator[str]:
    """Yield all paths of classes and functions in a configuration."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "class_path" and isinstance(value, str):
                yield value
            else:
                yield from _named(value)
    elif isinstance(config, list):
        for value in config:
            yield from _named(value)
