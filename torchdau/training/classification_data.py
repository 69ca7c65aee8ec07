"""Data modules of classification: where images lie and how they are read."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes
from torchvision.transforms import v2

from torchdau.training.image_data import IMAGENET_MEAN, IMAGENET_STD, ImageData
from torchdau.training.pictures import Pictures

CIFAR10_MEAN, CIFAR10_STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


class ClassificationData(ImageData, ABC):
    """Pairs of an 8-bit image (C, H, W) and its class, normalised a batch at a time.

    The test set serves for validation too, as in the paper, which has no set of its own for it.

    Args:
        batch_size: images per batch, of all devices together.
        num_workers: processes that read images, for each device.
        mean: mean of each channel, of intensities in [0, 1].
        std: standard deviation of each channel.
        size: side in pixels to which images are resized, the middle cut out; none leaves them as they are.
        mirror: whether training images are mirrored half of the time.
        padding: black pixels put around training images, of which a part of their size is cut out at random.
        pictures: folder of pictures to predict, in place of the test set.
    """

    def __init__(
        self,
        batch_size: int,
        num_workers: int,
        mean: Sequence[float],
        std: Sequence[float],
        size: int | None = None,
        mirror: bool = False,
        padding: int = 0,
        pictures: str | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, mean, std)
        if padding and size is None:
            raise ValueError(f"size must be given with padding, got size=None for padding={padding}.")
        self.size = size
        self.mirror = mirror
        self.padding = padding
        self.pictures = pictures

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, known after :meth:`setup`, but for pictures, which have none."""
        return getattr(self.test, "classes", None)

    @abstractmethod
    def dataset(self, train: bool) -> Dataset[Any]:
        """The training or the test set."""

    def setup(self, stage: str) -> None:
        """Opens the sets that a stage needs."""
        if stage == "predict" and self.pictures:
            if self.size is None:
                raise ValueError("size must be given for pictures, which have many, got size=None.")
            self.test: Dataset[Any] = Pictures(self.pictures, self.transform(train=False))
            return
        if stage == "fit":
            self.train = self.dataset(train=True)
        self.test = self.dataset(train=False)

    def transform(self, train: bool) -> Callable[[Any], Tensor]:
        """What an image as it is read becomes: 8-bit pixels (3, H, W)."""
        steps: list[Callable[[Any], Any]] = []
        if self.size is not None:
            steps += [v2.Resize(self.size), v2.CenterCrop(self.size)]
        if train and self.padding:
            steps.append(v2.RandomCrop(self.size, self.padding))
        if train and self.mirror:
            steps.append(v2.RandomHorizontalFlip())
        return v2.Compose([*steps, v2.PILToTensor()])

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the training set in a new order every epoch."""
        return self.train_loader(self.train)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the test set."""
        return self.test_loader(self.test, self.batch_size)

    test_dataloader = predict_dataloader = val_dataloader


class ImageFolderData(ClassificationData):
    """Images in folders named after their classes: ``root/train/CLASS/*`` and ``root/test/CLASS/*``.

    Args:
        root: folder that holds the two sets. Default: the environment variable ``TORCHDAU_DATA``.
        train_folder: name of the folder of the training set.
        test_folder: name of the folder of the test set.
        batch_size: images per batch, of all devices together.
        num_workers: processes that read images.
        mean: mean of each channel, of intensities in [0, 1]. Default: that of CIFAR-10.
        std: standard deviation of each channel.
        size: side in pixels to which images are resized, the middle cut out; none leaves them as they are.
        mirror: whether training images are mirrored half of the time.
        padding: black pixels put around training images, of which a part of their size is cut out at random.
        pictures: folder of pictures to predict, in place of the test set.

    Raises:
        ValueError: neither ``root`` nor the environment variable is there.
        ValueError: there is padding without a size.
        ValueError: the two folders have different classes.
        FileNotFoundError: a folder is missing or holds no image; the message says what was expected there.
    """

    def __init__(
        self,
        root: str | None = None,
        train_folder: str = "train",
        test_folder: str = "test",
        batch_size: int = 256,
        num_workers: int = 2,
        mean: Sequence[float] = CIFAR10_MEAN,
        std: Sequence[float] = CIFAR10_STD,
        size: int | None = None,
        mirror: bool = False,
        padding: int = 0,
        pictures: str | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, mean, std, size, mirror, padding, pictures)
        root = root or os.environ.get("TORCHDAU_DATA")
        if not root and not pictures:
            raise ValueError(
                f"root must name the folder that holds {train_folder} and {test_folder}, got root={root!r}. "
                "Give data.init_args.root, or set the environment variable TORCHDAU_DATA."
            )
        self.folders = {True: Path(root or "") / train_folder, False: Path(root or "") / test_folder}

    def dataset(self, train: bool) -> ImageFolder:
        """The images of one folder."""
        folder, other = self.folders[train], self.folders[not train]
        images = _read(folder, partial(ImageFolder, transform=self.transform(train)))
        if other.is_dir() and (classes := _read(other, find_classes)[0]) != images.classes:
            only = sorted(set(classes) ^ set(images.classes))
            raise ValueError(
                f"{folder} and {other} must have folders for the same classes, got {', '.join(only)} in one only."
            )
        return images


class ImageNetData(ImageFolderData):
    """ILSVRC 2012, or any images in its layout: ``root/train/CLASS/*`` and ``root/val/CLASS/*``.

    The shorter side is resized to ``size`` and the middle cut out; training images are mirrored half of the time.
    There is no other augmentation, as in the paper.

    Args:
        root: folder that holds the two sets. Default: the environment variable ``TORCHDAU_DATA``.
        size: side of the images in pixels: 227 for AlexNet, 224 for residual networks.
        batch_size: images per batch, of all devices together.
        num_workers: processes that read images, for each device.
        pictures: folder of pictures to predict, in place of the test set.

    Raises:
        ValueError: neither ``root`` nor the environment variable is there, or the two folders have different classes.
        FileNotFoundError: a folder is missing or holds no image; the message says what was expected there.

    Reference:
        Section 4.2 of the paper, "Dataset".
    """

    def __init__(
        self,
        root: str | None = None,
        size: int = 224,
        batch_size: int = 256,
        num_workers: int = 8,
        pictures: str | None = None,
    ) -> None:
        normal = IMAGENET_MEAN, IMAGENET_STD
        super().__init__(
            root, "train", "val", batch_size, num_workers, *normal, size=size, mirror=True, pictures=pictures
        )


def _read(folder: Path, reader: Callable[[Path], Any]) -> Any:
    """What ``reader`` makes of a folder of images; what is missing there is an error that says what was expected."""
    try:
        return reader(folder)
    except FileNotFoundError as error:
        layout = f"{folder}/CLASS/IMAGE, where IMAGE ends in one of {', '.join(IMG_EXTENSIONS)}"
        found = error if folder.is_dir() else f"There is no folder {folder}."
        raise FileNotFoundError(f"root must hold {layout}. {found}") from error


class CIFAR10Data(ClassificationData):
    """CIFAR-10 in its original files, as torchvision reads them.

    Args:
        root: folder that holds ``cifar-10-batches-py``.
        download: whether to download the set (170 MB) to ``root`` where it is not there yet.
        batch_size: images per batch, of all devices together.
        num_workers: processes that read images.
        mirror: whether training images are mirrored half of the time.
        padding: black pixels put around training images, of which a part of their size is cut out at random.

    Raises:
        FileNotFoundError: the set is not there.
    """

    def __init__(
        self,
        root: str,
        download: bool = False,
        batch_size: int = 256,
        num_workers: int = 2,
        mirror: bool = False,
        padding: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, CIFAR10_MEAN, CIFAR10_STD, 32, mirror, padding)
        self.root = Path(root)
        self.download = download

    def prepare_data(self) -> None:
        """Downloads the set, in one process, where that was asked for."""
        if self.download:
            CIFAR10(self.root, download=True)

    def dataset(self, train: bool) -> CIFAR10:
        """The training or the test set."""
        try:
            return CIFAR10(self.root, train, transform=self.transform(train))
        except RuntimeError as error:
            raise FileNotFoundError(
                f"root must hold {self.root / CIFAR10.base_folder} with the files of CIFAR-10; they are missing or "
                "damaged. Unpack cifar-10-python.tar.gz there, or set download to true."
            ) from error


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

    def dataset(self, train: bool) -> TensorDataset:
        """The training or the test set."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        labels = torch.from_numpy(digits.target)
        chosen = (torch.arange(len(labels)) % 5 == 0) != train
        return TensorDataset(images[chosen], labels[chosen])
