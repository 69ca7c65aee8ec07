"""CIFAR-10 in its original files."""

from pathlib import Path
from typing import Any

from torchvision.datasets import CIFAR10

from torchdau.training.data.classification import ClassificationData

CIFAR10_MEAN, CIFAR10_STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


class CIFAR10Data(ClassificationData):
    """CIFAR-10 in its original files, read by torchvision.

    Args:
        root: folder that holds ``cifar-10-batches-py``.
        download: whether to download the set (170 MB) to ``root`` if it is missing.
        batch_size: images per batch, in total over all devices.
        num_workers: processes that read images.
        mirror: whether to mirror training images with probability 0.5.
        padding: black pixels around training images, before a random crop to their original size.
        **options: further arguments of :class:`ImageData`.

    Raises:
        FileNotFoundError: the set is missing or damaged.
    """

    def __init__(
        self,
        root: str,
        download: bool = False,
        batch_size: int = 256,
        num_workers: int = 2,
        mirror: bool = False,
        padding: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, CIFAR10_MEAN, CIFAR10_STD, 32, mirror, padding, **options)
        self.root = Path(root)
        self.download = download

    def prepare_data(self) -> None:
        """Download the set, in one process, if ``download`` is set."""
        if self.download:
            try:
                CIFAR10(self.root, download=True)
            except RuntimeError as error:
                raise ValueError(
                    f"download must bring the archive of CIFAR-10, got another as '{self.root / CIFAR10.filename}': "
                    f"{error} It was not unpacked. Put the real one there."
                ) from error

    def dataset(self, train: bool) -> CIFAR10:
        """Return the training or the test set."""
        try:
            return CIFAR10(self.root, train, transform=self.transform(train))
        except RuntimeError as error:
            raise FileNotFoundError(
                f"root must hold {self.root / CIFAR10.base_folder} with the files of CIFAR-10; they are missing or "
                "damaged. Unpack cifar-10-python.tar.gz there, or set download to true."
            ) from error
