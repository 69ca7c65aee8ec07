"""Which modules the configuration in a checkpoint may name: making a class runs its code."""

import os
from collections.abc import Iterator
from typing import Any

TRUSTED = ("torchdau", "torch.nn", "torch.optim", "torchvision", "timm", "lightning", "torchmetrics")
"""Modules that every checkpoint may name."""

MORE = "TORCHDAU_TRUST"
"""Environment variable with further modules, separated by commas; ``--trust`` of the command sets it."""


def check_trust(config: Any, checkpoint: str | os.PathLike[str]) -> None:
    """Check that a configuration names classes and functions of trusted modules only.

    Args:
        config: configuration from a checkpoint: dictionaries, lists and plain values.
        checkpoint: its file, for the message.

    Raises:
        ValueError: it names another module.
    """
    trusted = (*TRUSTED, *filter(None, os.environ.get(MORE, "").split(",")))
    for name in _named(config):
        if not any(name.startswith(f"{module}.") for module in trusted) and "." in name:
            module = name.partition(".")[0]
            raise ValueError(
                f"checkpoint must name classes of {', '.join(TRUSTED)}, got {name!r} in {str(checkpoint)!r}. Its code "
                f"would run; if you trust the file, add --trust {module}."
            )


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
    elif isinstance(config, str) and "class_path" in config:  # a configuration as text
        yield "a configuration in text."
