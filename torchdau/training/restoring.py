"""Trained networks out of checkpoints, which carry the configuration that made them."""

import os
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import LightningDataModule, LightningModule, seed_everything
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from torchdau import __version__
from torchdau.conv import DAUConv2d
from torchdau.training.checkpoints import read_checkpoint, refusal


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


def restore_start(checkpoint: str | os.PathLike[str]) -> nn.Module | None:
    """Makes the network of a checkpoint as it was before the training, by the same seed.

    Args:
        checkpoint: a file that ``torchdau fit`` wrote.

    Returns:
        The network; None where that is not known: the training had no seed, or started from another checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint of ``torchdau fit``.
    """
    saved = read_checkpoint(checkpoint)
    config = _config(saved, checkpoint)
    seed = config.get("seed_everything")
    if saved.get("pretrained") or isinstance(seed, bool) or not isinstance(seed, int):
        return None
    with isolate_rng():
        seed_everything(seed, verbose=False)
        network: nn.Module = _make(LightningModule, saved, "model", checkpoint).network
    return network


def first_images(checkpoint: str | os.PathLike[str], size: int) -> tuple[Tensor, str]:
    """Four images as the network of a checkpoint sees them, and what they are, in words.

    Args:
        checkpoint: a file that ``torchdau fit`` wrote.
        size: side in pixels of the noise that there is where the data set of the checkpoint is not.
    """
    try:
        data: Any = restore_data(checkpoint)
        data.num_workers = 0
        data.setup("test")
        images: Tensor = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)[0][:4]
    except (FileNotFoundError, ValueError):
        layers = restore_task(checkpoint).modules()
        channels = next((m.in_channels for m in layers if isinstance(m, DAUConv2d | nn.Conv2d)), 3)
        return torch.randn(4, channels, size, size), f"noise of {size} x {size} px, because its data set is not there"
    return images, "images of its data set"


def named_checkpoints(checkpoints: Sequence[Path]) -> dict[str, Path]:
    """Checkpoints by the parts of their paths in which they differ."""
    parts = [path.parts for path in checkpoints]
    if len(set(parts)) < 2:
        return {str(path): path for path in checkpoints}
    first = next(i for i, names in enumerate(zip(*parts, strict=False)) if len(set(names)) > 1)
    last = next(i for i, names in enumerate(zip(*(p[::-1] for p in parts), strict=False)) if len(set(names)) > 1)
    return {"/".join(path.parts[first : len(path.parts) - last]) or str(path): path for path in checkpoints}


def _make(kind: type, saved: Mapping[str, Any], key: str, checkpoint: str | os.PathLike[str]) -> Any:
    """The instance of a class and arguments that the configuration in a checkpoint names."""
    config = {key: _config(saved, checkpoint)[key]}
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(kind, key, subclass_mode=True)
    try:
        return parser.instantiate_classes(parser.parse_object(config))[key]
    except ArgumentError as error:
        raise ValueError(
            f"checkpoint must be of classes and arguments that torchdau {__version__} knows, got {str(checkpoint)!r}: "
            f"{_innermost(error)}."
        ) from error


def _config(saved: Mapping[str, Any], checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """The configuration in a checkpoint."""
    try:
        config = yaml.safe_load(saved["config"])
        return {"model": config["model"], "data": config["data"]} | config
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(refusal(checkpoint, repr(error))) from error


def _innermost(error: BaseException) -> BaseException:
    """What an error is about that others were raised from."""
    return error if error.__cause__ is None else _innermost(error.__cause__)
