"""Trained networks out of checkpoints, which carry the configuration that made them."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch
import yaml
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser


def restore_task(checkpoint: str | os.PathLike[str]) -> LightningModule:
    """Makes the task of a checkpoint again, and loads the weights; ``network`` of the task is what was trained.

    Args:
        checkpoint: a file that ``torchdau fit`` wrote. It names the classes to make: take none from strangers.

    Returns:
        The task, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint of ``torchdau fit``.
    """
    saved = read_checkpoint(checkpoint)
    task: LightningModule = _make(LightningModule, saved["config"], "model")
    task.load_state_dict(saved["state_dict"])
    return task.eval()


def restore_data(checkpoint: str | os.PathLike[str]) -> LightningDataModule:
    """Makes the data module of a checkpoint again.

    Args:
        checkpoint: a file that ``torchdau fit`` wrote.

    Raises:
        FileNotFoundError: there is no such file, or the images are not there.
        ValueError: the file is not a checkpoint of ``torchdau fit``.
    """
    return _make(LightningDataModule, read_checkpoint(checkpoint)["config"], "data")


def _make(kind: type, config: str, key: str) -> Any:
    """The instance of a class and arguments that a configuration names."""
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(kind, key, subclass_mode=True)
    return parser.instantiate_classes(parser.parse_object({key: yaml.safe_load(config)[key]}))[key]


def read_checkpoint(checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in a checkpoint: ``config`` as YAML, ``state_dict``, and what Lightning needs to go on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint of ``torchdau fit``.
    """
    file = Path(checkpoint)
    if not file.is_file():
        raise FileNotFoundError(
            f"checkpoint must be a file that torchdau fit wrote, got {str(file)!r}, which is missing."
        )
    try:
        saved: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
        if not isinstance(saved["config"], str):
            raise TypeError("its configuration is no text")
    except (UnpicklingError, RuntimeError, BadZipFile, EOFError, KeyError, TypeError) as error:
        raise ValueError(
            f"checkpoint must be a file that torchdau fit wrote, got {str(file)!r}: {type(error).__name__}: {error}."
        ) from error
    return saved
