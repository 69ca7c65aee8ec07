"""Stopping a training by a signal, with a checkpoint to resume from."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException


class Interruptible(Callback):
    """Callback that saves ``last.ckpt`` after the current batch and stops, on SIGTERM or Ctrl-C.

    A second Ctrl-C stops at once.

    Attributes:
        number: number of the signal that stopped the training, or None.
        checkpoint: path of the checkpoint written at the signal, or None.
    """

    number: int | None = None
    checkpoint: Path | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Turn Ctrl-C into SIGTERM, a flag that Lightning checks after each batch."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._stop)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Stop within a validation too, which may be long; on several devices, let the validation finish."""
        if trainer.received_sigterm and trainer.world_size == 1:
            raise SIGTERMException

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the checkpoint if a signal stopped the training; after an error the state may be broken."""
        if not isinstance(exception, SIGTERMException):
            return
        self.number = self.number or signal.SIGTERM
        folder = next((c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)), None)
        if folder:
            self.checkpoint = Path(folder) / "last.ckpt"
            trainer.save_checkpoint(self.checkpoint)

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
        """Restore the default handler of Ctrl-C."""
        if stage == "fit" and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGTERM)


def before_validation(loops: dict[str, Any]) -> None:
    """Set the state of Lightning's loops in place: after a batch, in a validation without any result."""
    batches, validation = loops["epoch_loop.batch_progress"], loops["epoch_loop.val_loop.batch_progress"]
    for counts in batches["total"], batches["current"]:
        counts["completed"] = counts["processed"]
    validation["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    validation["current"] = dict.fromkeys(validation["total"], 0)
