"""Output of ``torchdau predict`` for classification: a file and a printed table."""

import csv
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from rich.console import Console
from rich.table import Table
from torch import Tensor

from torchdau.whole import whole_file

MOST_SHOWN = 20
"""Largest number of images in the printed table."""


class LabelWriter(BasePredictionWriter):
    """Callback that writes ``predictions.csv`` to the trainer's folder: a line per image and likely class.

    An image is named by its file if the data set has files, else by its index. A class is named by its name if known,
    else by its number. The first images are also printed.

    Args:
        top: number of most likely classes for each image.
    """

    def __init__(self, top: int = 3) -> None:
        super().__init__("batch")
        self.top = top
        self.stack = ExitStack()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the file; with several processes, each creates its own."""
        name = "predictions.csv" if trainer.world_size == 1 else f"predictions-{trainer.global_rank}.csv"
        self.path = Path(trainer.default_root_dir) / name
        self.replaces = self.path.exists()
        if self.replaces:
            self.path.open("r+").close()  # a file that cannot be replaced is an error before the work, not after it
        part = self.stack.enter_context(whole_file(self.path))
        self.file = self.stack.enter_context(part.open("w", newline="", encoding="utf-8", errors="surrogateescape"))
        self.file.write("image,rank,class,probability\n")
        samples = getattr(trainer.predict_dataloaders.dataset, "samples", None)  # type: ignore[union-attr]
        self.files = [sample[0] for sample in samples] if samples else None
        paths = [Path(file).absolute() for file in self.files or ()]
        folder = os.path.commonpath([path.parent for path in paths]) if paths else ""
        names = [os.fsencode(path.relative_to(folder)) for path in paths]
        self.shown = [name.decode("utf-8", "backslashreplace") for name in names]
        self.count = 0
        self.table = Table("image", "likeliest classes", box=None, pad_edge=False)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Append the lines of a batch."""
        names = getattr(pl_module, "classes", None) or list(range(prediction.shape[1]))
        probabilities, labels = prediction.topk(min(self.top, prediction.shape[1]))
        writer = csv.writer(self.file)
        for index, each, ps in zip(batch_indices or [], labels.tolist(), probabilities.tolist(), strict=True):
            self.count += 1
            image = self.files[index] if self.files else index
            for rank, (label, p) in enumerate(zip(each, ps, strict=True), start=1):
                writer.writerow([image, rank, names[label], f"{p:.4f}"])
            if self.table.row_count < MOST_SHOWN:
                classes = (f"{names[label]} {p:.1%}" for label, p in zip(each, ps, strict=True))
                self.table.add_row(self.shown[index] if self.shown else str(index), ", ".join(classes))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove a file that is not complete."""
        self.stack.__exit__(type(exception), exception, exception.__traceback__)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the file, and print the first images and its path."""
        self.stack.close()
        if trainer.is_global_zero:
            console = Console()
            console.print(self.table)
            if (more := self.count - self.table.row_count) > 0:
                console.print(f"... and {more:,} more")
            console.print(f"written: {self.path}{', in place of the last' if self.replaces else ''}", soft_wrap=True)
