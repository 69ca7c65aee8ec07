"""Messages of a command about a run: device, data, network, folder of the results, and the next command."""

import logging
import shlex
import warnings
from collections.abc import Sized
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn

from torchdau.analysis import units_of


def silence() -> None:
    """Hide messages of Lightning that users can do nothing about."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    for message in ("`?isinstance.*treespec", "Checkpoint directory .* exists", "The dirpath has changed"):
        warnings.filterwarnings("ignore", message=message)


class Messages(Callback):
    """Callback that prints the device, data and network of a run, and the folder of the results of a training."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the device, data and network, and the folder of the results."""
        folder = trainer.log_dir or trainer.default_root_dir  # all processes must ask for it
        if trainer.is_global_zero:
            self._introduce(trainer, pl_module)
            _say("results", folder)

    @rank_zero_only
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the device, data and network."""
        self._introduce(trainer, pl_module)

    on_predict_start = on_test_start

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the device, data and network, unless the validation is part of a training."""
        if trainer.state.fn == "validate":
            self.on_test_start(trainer, pl_module)

    def _introduce(self, trainer: Trainer, pl_module: LightningModule) -> None:
        device = pl_module.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
        count = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
        _say("device", f"{count}{device.type} ({name})")
        if data := getattr(trainer, "datamodule", None):
            _say("data", ", ".join([type(data).__name__, *_sizes(trainer)]))
        network: Any = getattr(pl_module, "network", pl_module)
        units = sum(len(layer.weight) for layer in units_of(network))
        parameters = sum(p.numel() for p in network.parameters())
        _say("network", f"{type(network).__name__}, {f'{units:,} units, ' if units else ''}{parameters:,} parameters")


@rank_zero_only
def say_that_nothing_was_left() -> None:
    """Print that a training had already reached its end."""
    _say("done", "already at the end: give --trainer.max_epochs for more")


@rank_zero_only
def say_what_is_next(trainer: Trainer, seconds: float, options: str) -> None:
    """Print the time of a training, the path of its best checkpoint, else of its last one, and the next command."""
    _say(
        "time", f"{timedelta(seconds=round(seconds))}, to epoch {trainer.current_epoch} and step {trainer.global_step}"
    )
    callbacks = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    best = next((each for each in callbacks if each.monitor and each.best_model_path), None)
    if best:
        path = _short(best.best_model_path)
        score = "" if best.best_model_score is None else f" {best.best_model_score:.4g}"  # of another folder's run
        _say("best", f"{path} ({best.monitor}{score})")
    else:
        last = next((Path(each.dirpath, "last.ckpt") for each in callbacks if each.dirpath), None)
        if last is None or not last.exists():
            return
        path = _short(str(last))
        _say("last", path)
    _say("next", f"torchdau test {shlex.quote(path)}{options}")


@rank_zero_only
def say_scores(trainer: Trainer) -> None:
    """Print the scores of a test or validation, a line each."""
    width = max(map(len, trainer.callback_metrics), default=0)
    for name, value in sorted(trainer.callback_metrics.items()):
        _say(name.ljust(width), f"{value.item():.4f}")


class Bar(RichProgressBar):
    """Lightning's progress bar, within 80 columns and with epochs counted from 1."""

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Return a short bar, the number of batches and the remaining time."""
        return [
            TextColumn("{task.description}"),
            BarColumn(6),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(compact=True),
        ]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return Lightning's metrics without the version number."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}

    def _get_train_description(self, current_epoch: int) -> str:
        epochs = self.trainer.max_epochs
        return f"epoch {current_epoch + 1}" + (f"/{epochs}" if epochs and epochs > 0 else "")


def _sizes(trainer: Trainer) -> list[str]:
    """Return the numbers of images in the sets in use, and of classes, as far as they are known."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    if trainer.predicting:
        kind = "new" if getattr(data, "pictures", None) else "test"
        sets = {kind: getattr(trainer.predict_dataloaders, "dataset", None)}
    else:
        fits = trainer.state.fn == "fit"
        sets = {"training": getattr(data, "train", None) if fits else None, "test": getattr(data, "test", None)}
    sizes = {name: len(images) for name, images in sets.items() if isinstance(images, Sized)}
    counts = [f"{size:,} {name} image{'' if size == 1 else 's'}" for name, size in sizes.items()]
    classes = None if trainer.predicting else getattr(data, "classes", None)
    return [*counts, f"{len(classes)} classes"] if classes else counts


def _short(path: str) -> str:
    """Return a path relative to the current folder if it lies inside."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _say(name: str, what: str) -> None:
    Console().print(f"{name:8} {what}", soft_wrap=True, highlight=False, markup=False)
