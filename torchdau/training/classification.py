"""The task of classification: one class per image."""

from collections.abc import Sequence
from typing import Any, cast

import torch.nn.functional as F
from lightning import Callback
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from torchdau.training.label_writer import LabelWriter
from torchdau.training.task import Task


class Classification(Task):
    """Image classification with softmax cross-entropy and top-1 accuracy.

    Args:
        network: model that maps images (N, C, H, W) to logits (N, classes). Its attribute ``num_classes`` is their
            number.
        **options: further arguments of :class:`Task`.
    """

    def __init__(self, network: nn.Module, **options: Any) -> None:
        super().__init__(network, **options)
        accuracy = MulticlassAccuracy(network.num_classes, average="micro")  # type: ignore[arg-type]
        self.accuracies = nn.ModuleDict({f"{stage}_accuracy": accuracy.clone() for stage in ("train", "val", "test")})

    def configure_callbacks(self) -> Sequence[Callback]:
        """Return the callback that writes predictions."""
        return [LabelWriter()]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Log loss and accuracy of a batch, and return the loss."""
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy of a batch."""
        self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy of a batch."""
        self._step(batch, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the class probabilities (N, classes) of a batch."""
        return self(batch[0]).softmax(1)

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        accuracy = cast("MulticlassAccuracy", self.accuracies[f"{stage}_accuracy"])
        accuracy(logits, labels)
        self.log(f"{stage}_loss", loss, prog_bar=stage == "train")
        self.log(f"{stage}_accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=stage != "train")
        return loss
