"""The base class of all data modules: batches split over devices, and normalisation on the device of the network."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from torchdau.training.data.in_memory import InMemory
from torchdau.training.data.loading import RandomOrder, TrainingLoader, TrainingSet, end_with_parent
from torchdau.training.seeds import global_seed

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageData(LightningDataModule):
    """Batches whose first part is 8-bit images (N, C, H, W), normalised a batch at a time.

    Args:
        batch_size: images per training batch, in total over all devices.
        num_workers: processes that read images, for each device; at most the number of CPU cores.
        mean: mean of each channel, of intensities in [0, 1].
        std: standard deviation of each channel.
        max_unreadable: share of training samples that may be unreadable. Others replace them, and a warning lists them
            after each epoch. A larger share ends the training.
    """

    def __init__(
        self,
        batch_size: int,
        num_workers: int,
        mean: Sequence[float],
        std: Sequence[float],
        max_unreadable: float = 0.0,
    ) -> None:
        super().__init__()
        self.max_unreadable = max_unreadable
        self.batch_size = batch_size
        self.num_workers = min(num_workers, os.cpu_count() or 1)  # more would compete for the cores
        self.normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Normalise the images on the device of the network."""
        images, targets = batch
        return self.normalise(images), targets

    def train_loader(self, dataset: Dataset[Any], drop_last: bool = False) -> TrainingLoader:
        """Return batches in a new order every epoch, split over the devices."""
        images = len(dataset)  # type: ignore[arg-type]
        if drop_last and images < self.batch_size:
            raise ValueError(
                f"batch_size must be at most the number of training images, {images}, got batch_size={self.batch_size}."
            )
        devices, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        if self.batch_size % devices:
            raise ValueError(
                f"batch_size must be a multiple of the number of devices, which share it, got batch_size="
                f"{self.batch_size} for {devices} devices."
            )
        if isinstance(dataset, InMemory) and self.trainer:
            dataset.to(self.trainer.strategy.root_device)
        samples = TrainingSet(dataset, self.max_unreadable)
        order = RandomOrder(samples, num_replicas=devices, rank=rank, seed=global_seed())
        shared = self.batch_size // devices
        return TrainingLoader(
            dataset=samples, sampler=order, batch_size=shared, drop_last=drop_last, **self._options(dataset)
        )

    def test_loader(self, dataset: Dataset[Any], batch_size: int) -> DataLoader[Any]:
        """Return batches in order; several devices see a part each, without repeated samples."""
        sampler = None
        if self.trainer and self.trainer.world_size > 1:
            images = len(dataset)  # type: ignore[arg-type]
            if images < self.trainer.world_size:
                raise ValueError(
                    f"devices must be at most the number of images to validate, test or predict, {images}, got devices="
                    f"{self.trainer.world_size}."
                )
            ranks = {"num_replicas": self.trainer.world_size, "rank": self.trainer.global_rank}
            sampler = UnrepeatedDistributedSampler(dataset, shuffle=False, **ranks)
        return DataLoader(dataset, batch_size=batch_size, sampler=sampler, **self._options(dataset))

    def _options(self, dataset: Dataset[Any]) -> dict[str, Any]:
        if isinstance(dataset, InMemory):
            return {"collate_fn": whole}  # it makes whole batches, faster than processes could send them
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": end_with_parent,
        }


def whole(batch: Any) -> Any:
    """Return a batch as the data set made it."""
    return batch


def data_root(root: str | None, pictures: str | None) -> Path:
    """Return the folder of a data set: ``root``, else the environment variable ``TORCHDAU_DATA``.

    Raises:
        ValueError: neither is set, and there are no pictures to predict without it.
    """
    root = root or os.environ.get("TORCHDAU_DATA")
    if not root and not pictures:
        raise ValueError(
            f"root must name the folder of the data set, got root={root!r}. Give data.init_args.root, or set the "
            "environment variable TORCHDAU_DATA."
        )
    return Path(root or "").expanduser()
