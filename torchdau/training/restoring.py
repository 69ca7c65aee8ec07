"""Trained networks out of checkpoints, which carry the configuration that made them."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple
from zipfile import BadZipFile

import torch
import yaml
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn


class Restored(NamedTuple):
    """What a checkpoint was made with.

    Attributes:
        task: the task with the trained weights, in evaluation mode, on the CPU.
        network: what it trains.
        data: the data module.
    """

    task: LightningModule
    network: nn.Module
    data: LightningDataModule


def restore(checkpoint: str | os.PathLike[str]) -> Restored:
    """Makes the task and the data of a checkpoint again, and loads the weights.

    Args:
        checkpoint: a file that ``torchdau fit`` wrote. It names the classes to make: take none from strangers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint of ``torchdau fit``.
    """
    saved = read_checkpoint(checkpoint)
    config = yaml.safe_load(saved["config"])
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    made = parser.instantiate_classes(parser.parse_object({key: config[key] for key in ("model", "data")}))
    made.model.load_state_dict(saved["state_dict"])
    return Restored(made.model.eval(), made.model.network, made.data)


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
