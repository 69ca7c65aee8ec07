"""Images in folders named after their classes; ImageNet's among them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes

from torchdau.training.data.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from torchdau.training.data.classification import ClassificationData
from torchdau.training.data.images import IMAGENET_MEAN, IMAGENET_STD, data_root
from torchdau.training.data.pictures import read_picture


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
        **options: further arguments of :class:`ImageData`.

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
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, mean, std, size, mirror, padding, pictures, **options)
        folder = data_root(root, pictures)
        self.folders = {True: folder / train_folder, False: folder / test_folder}

    def dataset(self, train: bool) -> ImageFolder:
        """The images of one folder."""
        folder, other = self.folders[train], self.folders[not train]
        images = _read(folder, partial(ImageFolder, transform=self.transform(train), loader=read_picture))
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
        **options: further arguments of :class:`ImageData`.

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
        **options: Any,
    ) -> None:
        super().__init__(
            root,
            "train",
            "val",
            batch_size,
            num_workers,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            size=size,
            mirror=True,
            pictures=pictures,
            **options,
        )


def _read(folder: Path, reader: Callable[[Path], Any]) -> Any:
    """What ``reader`` makes of a folder of images; what is missing there is an error that says what was expected."""
    try:
        return reader(folder)
    except FileNotFoundError as error:
        layout = f"{folder}/CLASS/IMAGE, where IMAGE ends in one of {', '.join(IMG_EXTENSIONS)}"
        found = error if folder.is_dir() else f"There is no folder {folder}."
        raise FileNotFoundError(f"root must hold {layout}. {found}") from error
