"""The task of segmentation: one class per pixel."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning import Callback
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from torchdau.analysis.confusion import scores
from torchdau.training.data.masks import IGNORED
from torchdau.training.picture_writer import MaskWriter
from torchdau.training.restoring import restore_network
from torchdau.training.task import Task
from torchdau.training.tiles import in_tiles
from torchdau.whole import whole_file


class Segmentation(Task):
    """Semantic segmentation with softmax cross-entropy, mean IoU and accuracy; pixels of class 255 are ignored.

    The scores come from one confusion matrix over the whole set.

    Args:
        network: model that maps images (N, C, H, W) to logits (N, classes, H, W). Its attribute ``num_classes`` is
            their number.
        pretrained: classification checkpoint of ``torchdau fit`` to start from. The network's method
            ``load_classifier`` loads its weights when a training starts; the file is not needed afterwards.
        tile: side in pixels of the tiles in which validation, test and prediction process images, which bounds memory.
            Default: whole images.
        overlap: pixels that neighbouring tiles share.
        **options: further arguments of :class:`Task`.
    """

    def __init__(
        self,
        network: nn.Module,
        pretrained: str | None = None,
        tile: int | None = None,
        overlap: int = 128,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self.pretrained = pretrained
        self.tile = tile
        self.overlap = overlap
        matrix = MulticlassConfusionMatrix(cast("int", network.num_classes), ignore_index=IGNORED, validate_args=False)
        self.matrices = nn.ModuleDict({f"{stage}_matrix": matrix.clone() for stage in ("val", "test")})

    def setup(self, stage: str) -> None:
        """Load the weights of the classification network; a checkpoint to resume from overwrites them afterwards."""
        super().setup(stage)
        if self.network.num_classes > IGNORED:  # type: ignore[operator]
            raise ValueError(f"num_classes must be at most {IGNORED}, got num_classes={self.network.num_classes}.")
        if stage == "fit" and self.pretrained:
            classifier = restore_network(self.pretrained)
            try:
                cast("Any", self.network).load_classifier(classifier)
            except (RuntimeError, AttributeError) as error:
                raise ValueError(
                    f"pretrained must be a checkpoint of a network with these layers, got {self.pretrained!r}: {error}"
                ) from error

    def configure_callbacks(self) -> Sequence[Callback]:
        """Return the callback that writes masks."""
        return [MaskWriter()]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Log and return the loss of a batch."""
        images, masks = batch
        loss = F.cross_entropy(self(images), masks.long(), ignore_index=IGNORED, reduction="sum")
        loss = loss / (masks != IGNORED).sum().clamp(min=1)  # a crop may have no labelled pixel
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the pixels of a batch."""
        self._count(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the pixels of a batch."""
        self._count(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        self._scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores, and write and print the scores of each class."""
        confusion = self._scores("test")
        if not self.trainer.is_global_zero:
            return
        result = scores(confusion)
        names = self.classes or [str(number) for number in range(len(confusion))]
        table = Table("class", "IoU", "accuracy", box=None, pad_edge=False)
        path = Path(self.trainer.default_root_dir) / "test_classes.csv"
        with whole_file(path) as part, part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "iou", "accuracy"])
            for name, iou, accuracy in zip(names, result.iou.tolist(), result.accuracies.tolist(), strict=True):
                writer.writerow([name, f"{iou:.4f}", f"{accuracy:.4f}"])
                table.add_row(escape(name), f"{iou:.1%}", f"{accuracy:.1%}")
        Console().print(table, f"written: {path}", soft_wrap=True)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the classes (N, H, W) of a batch, 8 bits each."""
        return self._classes_of(batch[0])

    def _classes_of(self, images: Tensor) -> Tensor:
        def classes(part: Tensor) -> Tensor:
            return self(part).argmax(1, keepdim=True).to(torch.uint8)

        found = in_tiles(classes, images, self.tile, self.overlap) if self.tile else classes(images)
        return found[:, 0]

    def _count(self, batch: tuple[Tensor, Tensor], stage: str) -> None:
        images, masks = batch
        matrix = cast("MulticlassConfusionMatrix", self.matrices[f"{stage}_matrix"])
        matrix.update(self._classes_of(images).to(masks.device).long(), masks.long())

    def _scores(self, stage: str) -> Tensor:
        matrix = cast("MulticlassConfusionMatrix", self.matrices[f"{stage}_matrix"])
        confusion = matrix.compute()
        matrix.reset()
        result = scores(confusion)
        self.log(f"{stage}_miou", result.mean_iou, prog_bar=True)
        self.log(f"{stage}_mean_accuracy", result.mean_accuracy)
        self.log(f"{stage}_accuracy", result.accuracy)
        return confusion
