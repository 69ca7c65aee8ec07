"""The end of a training: by itself, by a signal or by an error, always with a checkpoint."""

import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
"""Ctrl-C, a terminal that closes, and what schedulers of clusters send before the end; SIGTERM is Lightning's."""


class Interruptible(Callback):
    """Callback that saves a checkpoint whenever a training ends.

    On a signal to stop, it saves ``last.ckpt`` after the current batch; a second Ctrl-C stops at once. It saves
    ``last.ckpt`` too if a training ends between two validations, and ``error.ckpt`` if it ends by an error. Signals
    that something else handles, or that are ignored (as by ``nohup``), are left alone.

    Attributes:
        first: step at which the training started, or None.
        number: number of the signal that stopped the training, or None.
        checkpoint: path of the checkpoint written at a signal or an error, or None.
    """

    first: int | None = None
    number: int | None = None
    checkpoint: Path | None = None

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}
        """Handlers of signals before the training."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Turn signals to stop into SIGTERM, a flag that Lightning checks after each batch."""
        self.first = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self.before[number] = signal.signal(number, self._stop)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Stop within a validation too, which may be long; on several devices, let the validation finish."""
        if trainer.received_sigterm and trainer.world_size == 1:
            raise SIGTERMException

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save ``last.ckpt`` if a signal stopped the training, and ``error.ckpt`` if an error did."""
        if isinstance(exception, SIGTERMException):
            self.number = self.number or signal.SIGTERM
            self.checkpoint = self._save(trainer, "last.ckpt")
        elif self.first is not None and trainer.global_step > self.first:
            with suppress(Exception):  # the error may not leave anything to save
                self.checkpoint = self._save_alone(trainer, "error.ckpt")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save ``last.ckpt`` if no checkpoint has the last step."""
        saved = {getattr(c, "_last_global_step_saved", 0) for c in trainer.checkpoint_callbacks}
        if trainer.global_step not in saved and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save(trainer, "last.ckpt")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Make a due or unfinished validation start anew on resume: checkpoints do not hold its partial results."""
        loop = trainer.fit_loop.epoch_loop
        done = loop.val_loop.batch_progress.current.completed
        unfinished = trainer.validating and done < sum(loop.val_loop.max_batches)
        batches = loop.batch_progress.current
        after_batch = trainer.training and batches.completed < batches.ready
        if unfinished or (after_batch and loop._should_check_val_fx(trainer.fit_loop._data_fetcher)):  # type: ignore[arg-type]
            before_validation(checkpoint["loops"]["fit_loop"])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the handlers of signals."""
        if stage == "fit" and threading.current_thread() is threading.main_thread():
            while self.before:
                signal.signal(*self.before.popitem())

    def _save(self, trainer: Trainer, name: str) -> Path | None:
        if path := self._path(trainer, name):
            trainer.save_checkpoint(path)
        return path

    def _save_alone(self, trainer: Trainer, name: str) -> Path | None:
        """Save without the other processes, which may wait elsewhere; without shards, each has the whole network."""
        path = self._path(trainer, name)
        if not path or not (trainer.world_size == 1 or isinstance(trainer.strategy, DDPStrategy)):
            return None
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, path)
        return path

    @staticmethod
    def _path(trainer: Trainer, name: str) -> Path | None:
        folder = next((c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)), None)
        return Path(folder) / name if folder else None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for each, handler in self.before.items():  # a terminal that closes may tell twice
            signal.signal(each, handler if each == signal.SIGINT else signal.SIG_IGN)
        signal.raise_signal(signal.SIGTERM)


def before_validation(loops: dict[str, Any]) -> None:
    """Set the state of Lightning's loops in place: after a batch, in a validation without any result."""
    batches, validation = loops["epoch_loop.batch_progress"], loops["epoch_loop.val_loop.batch_progress"]
    for counts in batches["total"], batches["current"]:
        counts["completed"] = counts["processed"]
    validation["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    validation["current"] = dict.fromkeys(validation["total"], 0)
