"""Small handwritten digits, which need no download."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from torchdau.training.data.classification import ClassificationData
from torchdau.training.data.in_memory import InMemory


class DigitsData(ClassificationData):
    """Handwritten digits of scikit-learn: 1,797 images of 8 x 8 pixels; every fifth is for testing.

    Args:
        batch_size: images per batch, in total over all devices.
        num_workers: processes that read images. Default: none, the fastest for a set in memory.
        pictures: folder of pictures to predict instead of the test set, with one bright digit on a dark background
            each.
    """

    def __init__(self, batch_size: int = 32, num_workers: int = 0, pictures: str | None = None) -> None:
        super().__init__(batch_size, num_workers, mean=[0.305], std=[0.376], size=8, pictures=pictures)

    @property
    def classes(self) -> list[str]:
        """The ten digits."""
        return list("0123456789")

    def transform(self, train: bool) -> Callable[[Any], Tensor]:
        """Return the transform from a picture to 8-bit pixels (1, 8, 8)."""
        return v2.Compose([v2.Grayscale(), super().transform(train)])

    def dataset(self, train: bool) -> InMemory:
        """Return the training or the test set."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        labels = torch.from_numpy(digits.target)
        chosen = (torch.arange(len(labels)) % 5 == 0) != train
        return InMemory(images[chosen], labels[chosen], classes=self.classes)
