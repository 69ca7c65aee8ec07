"""Trained networks out of checkpoints, which carry the configuration that made them."""

import os
from collections.abc import Mapping
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
    task: LightningModule = _make(LightningModule, saved, "model", checkpoint)
    try:
        task.load_state_dict(saved["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"checkpoint must have the weights of its network, got {checkpoint}: {error}.") from error
    return task.eval()


def restore_data(checkpoint: str | os.PathLike[str]) -> LightningDataModule:
    """Makes the data module of a checkpoint again.

    Args:
        checkpoint: a file that ``torchdau fit`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint of ``torchdau fit``, or the data are not where they were.
    """
    data: LightningDataModule = _make(LightningDataModule, read_checkpoint(checkpoint), "data", checkpoint)
    return data


def read_checkpoint(checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in a checkpoint: ``config`` as YAML, ``state_dict``, and what Lightning needs to go on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint.
    """
    file = Path(checkpoint)
    if not file.is_file():
        raise FileNotFoundError(
            f"checkpoint must be a file that torchdau fit wrote, got {str(file)!r}, which is no file."
        )
    try:
        saved = torch.load(file, weights_only=True, map_location="cpu")
    except (UnpicklingError, RuntimeError, BadZipFile, EOFError) as error:
        raise ValueError(_refusal(checkpoint, error)) from error
    if not isinstance(saved, dict):
        raise ValueError(_refusal(checkpoint, f"it holds a {type(saved).__name__}"))
    return saved


def _make(kind: type, saved: Mapping[str, Any], key: str, checkpoint: str | os.PathLike[str]) -> Any:
    """The instance of a class and arguments that the configuration in a checkpoint names."""
    try:
        config = {key: yaml.safe_load(saved["config"])[key]}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_refusal(checkpoint, error)) from error
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(kind, key, subclass_mode=True)
    return parser.instantiate_classes(parser.parse_object(config))[key]


def _refusal(checkpoint: str | os.PathLike[str], why: object) -> str:
    return f"checkpoint must be a file that torchdau fit wrote, got {str(checkpoint)!r}: {why!r}."
