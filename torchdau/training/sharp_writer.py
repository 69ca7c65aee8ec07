"""What ``torchdau predict`` writes of a deblurring network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from rich.console import Console
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from torchdau.training.pictures import distinct_names


class SharpWriter(BasePredictionWriter):
    """Writes ``deblurred/NAME.png`` into the trainer's folder, in folders as the pictures are."""

    def __init__(self) -> None:
        super().__init__("batch")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Names the files."""
        self.names = distinct_names([sample[0] for sample in trainer.predict_dataloaders.dataset.samples])  # type: ignore[union-attr]
        self.folder = Path(trainer.default_root_dir) / "deblurred"

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
        """Writes a file for each image of a batch."""
        for index, image in zip(batch_indices or [], prediction.cpu(), strict=True):
            path = self.folder / f"{self.names[index]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            F.to_pil_image(image).save(path)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says where they are."""
        if trainer.is_global_zero:
            Console().print(f"written: {len(self.names)} files in {self.folder}", soft_wrap=True)
