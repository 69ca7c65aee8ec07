"""What all data modules have in common: batches shared by the devices, images normalised where the network is."""

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
        batch_size: images per training batch, of all devices together.
        num_workers: processes that read images, for each device; no more than the machine has cores.
        mean: mean of each channel, of intensities in [0, 1].
        std: standard deviation of each channel.
        max_unreadable: share of training samples that may turn out unreadable; others stand in for them, and a warning
            lists them after each epoch. More of them end the training.
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
        self.num_workers = min(num_workers, os.cpu_count() or 1)  # more would wait for each other
        self.normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Normalises the images, where the network is."""
        images, targets = batch
        return self.normalise(images), targets

    def train_loader(self, dataset: Dataset[Any], drop_last: bool = False) -> TrainingLoader:
        """Batches in a new order every epoch, which the devices share."""
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
        """Batches in order; several devices see a part each, and no sample twice to make the parts equal."""
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
            return {"collate_fn": whole}  # it makes whole ones, faster than processes would send them
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": end_with_parent,
        }


def whole(batch: Any) -> Any:
    """What a data set made of a whole batch."""
    return batch


def data_root(root: str | None, pictures: str | None) -> Path:
    """The folder of a data set: what was given, else what the environment variable ``TORCHDAU_DATA`` names.

    Raises:
        ValueError: there is neither, and no pictures that could do without it.
    """
    root = root or os.environ.get("TORCHDAU_DATA")
    if not root and not pictures:
        raise ValueError(
            f"root must name the folder of the data set, got root={root!r}. Give data.init_args.root, or set the "
            "environment variable TORCHDAU_DATA."
        )
    return Path(root or "")
