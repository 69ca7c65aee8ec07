"""Small handwritten digits, which need no download."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from torchdau.training.data.classification import ClassificationData
from torchdau.training.data.in_memory import InMemory


class DigitsData(ClassificationData):
    """The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels; every fifth is for the test.

    Args:
        batch_size: images per batch, of all devices together.
        num_workers: processes that read images; the set is in memory, so none is fastest.
        pictures: folder of pictures to predict, in place of the test set: a digit each, bright on a dark background.
    """

    def __init__(self, batch_size: int = 32, num_workers: int = 0, pictures: str | None = None) -> None:
        super().__init__(batch_size, num_workers, mean=[0.305], std=[0.376], size=8, pictures=pictures)

    @property
    def classes(self) -> list[str]:
        """Ten digits."""
        return list("0123456789")

    def transform(self, train: bool) -> Callable[[Any], Tensor]:
        """What a picture becomes: 8-bit pixels (1, 8, 8)."""
        return v2.Compose([v2.Grayscale(), super().transform(train)])

    def dataset(self, train: bool) -> InMemory:
        """The training or the test set."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        labels = torch.from_numpy(digits.target)
        chosen = (torch.arange(len(labels)) % 5 == 0) != train
        return InMemory(images[chosen], labels[chosen], classes=self.classes)
