"""The task of deblurring: sharp images from blurred ones."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning import Callback
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from torchdau.training.picture_writer import SharpWriter
from torchdau.training.sharp import deblurred, to_8_bits
from torchdau.training.task import Task


class Deblurring(Task):
    """Deblurring with a loss at all scales, and PSNR and SSIM of the result.

    Both scores compare 8-bit images, one at a time, and are averaged over the set. SSIM (Wang et al.) uses a Gaussian
    window of 11 pixels on each channel, without the border that the window does not cover.

    Args:
        network: model that maps blurred images (N, 3, H, W) in [0, 1] to a list of sharp ones at several scales. The
            last is the result.
        tile: side in pixels of the tiles in which validation, test and prediction process images, which bounds memory.
            Default: whole images.
        overlap: pixels that neighbouring tiles share.
        loss: module that compares images with sharp ones, at each scale. Default: ``torch.nn.MSELoss``, as in the
            paper.
        **options: further arguments of :class:`Task`.

    Reference:
        Section 7 of the paper; Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment, IEEE TIP 2004.
    """

    def __init__(
        self,
        network: nn.Module,
        tile: int | None = None,
        overlap: int = 128,
        loss: nn.Module | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self.loss = nn.MSELoss() if loss is None else loss
        self.tile = tile
        self.overlap = overlap
        stages = ("val", "test", "test_blurred")
        self.means = nn.ModuleDict({f"{s}_{m}": MeanMetric() for s in stages for m in ("psnr", "ssim")})

    def configure_callbacks(self) -> Sequence[Callback]:
        """Return the callback that writes sharp images."""
        return [SharpWriter()]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Log and return the loss, summed over the scales."""
        blurred, sharp = batch
        loss = torch.zeros((), device=sharp.device)
        for image in self(blurred):
            loss = loss + self.loss(image, F.interpolate(sharp, image.shape[-2:], mode="bilinear"))
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log PSNR and SSIM."""
        self._scores(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log PSNR and SSIM, also of the blurred images."""
        self._scores(batch, "test")
        self._log_scores(to_8_bits(batch[0]), batch[1], "test_blurred")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the sharp images (N, 3, H, W), 8 bits."""
        return to_8_bits(deblurred(self.network, batch[0], self.tile, self.overlap))

    def _scores(self, batch: tuple[Tensor, Tensor], stage: str) -> None:
        blurred, sharp = batch
        results = to_8_bits(deblurred(self.network, blurred, self.tile, self.overlap)).to(sharp.device)
        self._log_scores(results, sharp, stage)

    def _log_scores(self, results: Tensor, sharp: Tensor, stage: str) -> None:
        for result, target in zip(results.float(), to_8_bits(sharp).float(), strict=True):
            psnr, ssim = scores(result, target)
            for name, value in (("psnr", psnr), ("ssim", ssim)):
                mean = self.means[f"{stage}_{name}"]
                mean(value)
                shown = name == "psnr"  # both do not fit the bar
                self.log(f"{stage}_{name}", mean, on_step=False, on_epoch=True, prog_bar=shown)  # type: ignore[arg-type]


def scores(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return PSNR in dB and SSIM of an image (3, H, W) with intensities from 0 to 255."""
    psnr = peak_signal_noise_ratio(image, target, data_range=255.0)
    ssim = structural_similarity_index_measure(image[None], target[None], data_range=255.0)
    assert isinstance(ssim, Tensor)
    return psnr, ssim
