"""Output of ``torchdau predict`` for predictions that are images."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from rich.console import Console
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from torchdau.training.data.files import distinct_names
from torchdau.training.data.masks import IGNORED, colour_map
from torchdau.training.data.pictures import read_picture, save_picture

OPACITY = 0.6
"""Opacity of the colours over the picture."""


class PictureWriter(BasePredictionWriter, ABC):
    """Callback that writes ``KIND/NAME.png`` to the trainer's folder, with the folder structure of the pictures."""

    kinds: tuple[str, ...]
    """Kinds of images written for each picture."""

    def __init__(self) -> None:
        super().__init__("batch")

    @abstractmethod
    def images(self, file: str, prediction: Tensor) -> Iterable[Image.Image]:
        """Return an image of each kind, from the file of a picture and its prediction."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the files."""
        self.files = [sample[0] for sample in trainer.predict_dataloaders.dataset.samples]  # type: ignore[union-attr]
        self.names = distinct_names(self.files)
        self.folders = [Path(trainer.default_root_dir) / kind for kind in self.kinds]

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
        """Write the images of a batch."""
        for index, each in zip(batch_indices or [], prediction.cpu(), strict=True):
            for folder, image in zip(self.folders, self.images(self.files[index], each), strict=True):
                save_picture(image, folder / f"{self.names[index]}.png")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the folders of the images."""
        if trainer.is_global_zero:
            where = " and ".join(map(str, self.folders))
            Console().print(f"written: {len(self.files)} files in {where}", soft_wrap=True)


class MaskWriter(PictureWriter):
    """Writer of masks (numbers with a palette) and overlays (colours over the picture), in the size of the picture."""

    kinds = ("masks", "overlays")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the colours."""
        super().on_predict_start(trainer, pl_module)
        classes: int = pl_module.network.num_classes  # type: ignore[union-attr, assignment]
        colours = getattr(getattr(trainer, "datamodule", None), "colours", None) or colour_map(classes)
        self.palette = [value for colour in colours for value in colour] + [0] * 3 * (IGNORED + 1 - classes)

    def images(self, file: str, prediction: Tensor) -> Iterable[Image.Image]:
        """Return a mask and an overlay."""
        picture = read_picture(file)
        mask = Image.fromarray(prediction.numpy()).resize(picture.size, Image.Resampling.NEAREST)
        mask.putpalette(self.palette)
        return mask, Image.blend(picture, mask.convert("RGB"), OPACITY)


class SharpWriter(PictureWriter):
    """Writer of deblurred pictures."""

    kinds = ("deblurred",)

    def images(self, file: str, prediction: Tensor) -> Iterable[Image.Image]:
        """Return the prediction itself."""
        return (F.to_pil_image(prediction),)
