"""The file that ``torchdau predict`` writes."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


class PredictionWriter(BasePredictionWriter):
    """Writes ``predictions.csv`` into the trainer's folder: image, class and probability, a line per image.

    An image is named by its file where the data set has files, else by its number; a class by its name, else its
    number.
    """

    def __init__(self) -> None:
        super().__init__("batch")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the file; each process of several writes one of its own."""
        name = "predictions.csv" if trainer.world_size == 1 else f"predictions-{trainer.global_rank}.csv"
        self.path = Path(trainer.default_root_dir) / name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("image,class,probability\n")

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
        dataset: Any = trainer.predict_dataloaders.dataset  # type: ignore[union-attr]
        files, classes = getattr(dataset, "samples", None), getattr(dataset, "classes", None)
        probabilities, labels = prediction.max(1)
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            for index, label, p in zip(batch_indices or [], labels.tolist(), probabilities.tolist(), strict=True):
                image = files[index][0] if files else index
                writer.writerow([image, classes[label] if classes else label, f"{p:.4f}"])
