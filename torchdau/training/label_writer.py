"""What ``torchdau predict`` writes and prints of a classification."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from rich.console import Console
from rich.table import Table
from torch import Tensor

MOST_SHOWN = 20
"""Images in the printed table."""


class LabelWriter(BasePredictionWriter):
    """Writes ``predictions.csv`` into the trainer's folder, a line for each image and each of its likeliest classes.

    An image is named by its file where the data set has files, else by its number; a class by its name, else its
    number. The first images are printed as well.

    Args:
        top: number of classes for each image.
    """

    def __init__(self, top: int = 3) -> None:
        super().__init__("batch")
        self.top = top

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the file; each process of several writes one of its own."""
        name = "predictions.csv" if trainer.world_size == 1 else f"predictions-{trainer.global_rank}.csv"
        self.path = Path(trainer.default_root_dir) / name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("image,rank,class,probability\n")
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
        """Adds the lines of a batch."""
        files = getattr(trainer.predict_dataloaders.dataset, "samples", None)  # type: ignore[union-attr]
        names = getattr(pl_module, "classes", None) or list(range(prediction.shape[1]))
        probabilities, labels = prediction.topk(min(self.top, prediction.shape[1]))
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            for index, each, ps in zip(batch_indices or [], labels.tolist(), probabilities.tolist(), strict=True):
                image = files[index][0] if files else index
                for rank, (label, p) in enumerate(zip(each, ps, strict=True), start=1):
                    writer.writerow([image, rank, names[label], f"{p:.4f}"])
                if self.table.row_count < MOST_SHOWN:
                    classes = (f"{names[label]} {p:.1%}" for label, p in zip(each, ps, strict=True))
                    self.table.add_row(Path(str(image)).name, ", ".join(classes))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the first images, and where all are."""
        if trainer.is_global_zero:
            console = Console()
            console.print(self.table)
            console.print(f"written: {self.path}", soft_wrap=True)
