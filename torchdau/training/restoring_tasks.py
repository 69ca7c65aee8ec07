"""Tasks and data modules restored from checkpoints, which hold the configuration that made them."""

import os
from typing import Any

import torch
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor, nn

from torchdau.conv import DAUConv2d
from torchdau.training.checkpoints import read_checkpoint
from torchdau.training.restoring import configuration, instantiate, restore_network
from torchdau.training.trust import UntrustedError


def restore_task(checkpoint: str | os.PathLike[str]) -> LightningModule:
    """Rebuild the task of a checkpoint, and load its weights; its attribute ``network`` is the trained network.

    Args:
        checkpoint: file that ``torchdau fit`` wrote. It names the classes to instantiate: open only files you trust.

    Returns:
        The task, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the file does not exist.
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
    """Rebuild the data module of a checkpoint.

    Args:
        checkpoint: file that ``torchdau fit`` wrote.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a checkpoint of ``torchdau fit``, or the data are no longer in their place.
    """
    data: LightningDataModule = _make(LightningDataModule, read_checkpoint(checkpoint), "data", checkpoint)
    return data


def first_images(checkpoint: str | os.PathLike[str], size: int) -> tuple[Tensor, str]:
    """Return four images as the network of a checkpoint sees them, and a description of them.

    Args:
        checkpoint: file that ``torchdau fit`` wrote.
        size: side in pixels of the noise that replaces the checkpoint's data set if it is not available.
    """
    try:
        data: Any = restore_data(checkpoint)
        data.num_workers = 0
        data.setup("test")
        images: Tensor = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)[0][:4]
    except UntrustedError:
        raise
    except (FileNotFoundError, ValueError):
        layers = restore_network(checkpoint).modules()
        channels = next((m.in_channels for m in layers if isinstance(m, DAUConv2d | nn.Conv2d)), 3)
        return torch.randn(4, channels, size, size), f"noise of {size} x {size} px, because its data set is not there"
    return images, "images of its data set"


def _make(kind: type, saved: dict[str, Any], key: str, checkpoint: str | os.PathLike[str]) -> Any:
    """Instantiate a class that the configuration in a checkpoint names."""
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(kind, key, subclass_mode=True)
    return instantiate(parser, {key: configuration(saved, checkpoint)[key]}, checkpoint)[key]
