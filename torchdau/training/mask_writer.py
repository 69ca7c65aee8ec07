"""What ``torchdau predict`` writes of a segmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from rich.console import Console
from torch import Tensor

from torchdau.training.masks import IGNORED, colour_map
from torchdau.training.pictures import distinct_names, read_picture

OPACITY = 0.6
"""Of the colours over the picture."""


class MaskWriter(BasePredictionWriter):
    """Writes ``masks/NAME.png``, numbers with a palette, and ``overlays/NAME.png``, colours over the picture.

    Both have the size of the picture as people see it. They lie in the trainer's folder, in folders as the pictures do.
    """

    def __init__(self) -> None:
        super().__init__("batch")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Names the files."""
        self.files = [sample[0] for sample in trainer.predict_dataloaders.dataset.samples]  # type: ignore[union-attr]
        self.names = distinct_names(self.files)
        self.folder = Path(trainer.default_root_dir)
        classes: int = pl_module.network.num_classes  # type: ignore[union-attr, assignment]
        colours = getattr(getattr(trainer, "datamodule", None), "colours", None) or colour_map(classes)
        self.palette = [value for colour in colours for value in colour] + [0] * 3 * (IGNORED + 1 - classes)

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
        """Writes two files for each picture of a batch."""
        for index, numbers in zip(batch_indices or [], prediction.cpu(), strict=True):
            picture = read_picture(self.files[index])
            mask = Image.fromarray(numbers.numpy()).resize(picture.size, Image.Resampling.NEAREST)
            mask.putpalette(self.palette)
            overlay = Image.blend(picture, mask.convert("RGB"), OPACITY)
            for kind, image in (("masks", mask), ("overlays", overlay)):
                path = self.folder / kind / f"{self.names[index]}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says where they are."""
        if trainer.is_global_zero:
            written = f"written: {len(self.files)} files each in {self.folder / 'masks'} and {self.folder / 'overlays'}"
            Console().print(written, soft_wrap=True)
