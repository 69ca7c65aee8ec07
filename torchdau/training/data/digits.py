"""Small handwritten digits, which need no download."""

import torch

from torchdau.training.data.classification import ClassificationData
from torchdau.training.data.in_memory import InMemory


class DigitsData(ClassificationData):
    """The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels; every fifth is for the test.

    Args:
        batch_size: images per batch, of all devices together.
        num_workers: processes that read images; the set is in memory, so none is fastest.
    """

    def __init__(self, batch_size: int = 32, num_workers: int = 0) -> None:
        super().__init__(batch_size, num_workers, mean=[0.305], std=[0.376])

    @property
    def classes(self) -> list[str]:
        """Ten digits."""
        return list("0123456789")

    def dataset(self, train: bool) -> InMemory:
        """The training or the test set."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        labels = torch.from_numpy(digits.target)
        chosen = (torch.arange(len(labels)) % 5 == 0) != train
        return InMemory(images[chosen], labels[chosen], classes=self.classes)
