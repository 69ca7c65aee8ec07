"""Images in folders named after their classes, such as ImageNet."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from torchdau.training.data.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from torchdau.training.data.classification import ClassificationData
from torchdau.training.data.files import is_data, say_left_out
from torchdau.training.data.images import IMAGENET_MEAN, IMAGENET_STD, data_root
from torchdau.training.data.pictures import read_picture


class ImageFolderData(ClassificationData):
    """Images in folders named after their classes: ``root/train/CLASS/*`` and ``root/test/CLASS/*``.

    With ``test_share``, the images are those of ``root/CLASS/*``, and about this share of them is the test set. Which
    ones depends on their names alone, so that no image changes sides when others are added.

    Args:
        root: folder that holds the two sets. Default: the environment variable ``TORCHDAU_DATA``.
        train_folder: name of the folder of the training set.
        test_folder: name of the folder of the test set.
        batch_size: images per batch, in total over all devices.
        num_workers: processes that read images, for each device.
        mean: mean of each channel, of intensities in [0, 1]. Default: the mean of CIFAR-10.
        std: standard deviation of each channel. Default: the standard deviation of CIFAR-10.
        size: side of the images in pixels: the shorter side is resized to it and the middle is cut out. Default: images
            are not resized.
        mirror: whether to mirror training images with probability 0.5.
        padding: black pixels around training images, before a random crop to their original size.
        test_share: share of the images in ``root/CLASS/*`` for the test set. Default: there are two folders.
        pictures: folder of pictures to predict instead of the test set.
        **options: further arguments of :class:`ImageData`.

    Raises:
        ValueError: neither ``root`` nor the environment variable is set.
        ValueError: ``test_share`` is not between 0 and 1.
        ValueError: ``padding`` is given without ``size``.
        ValueError: the two folders have different classes.
        FileNotFoundError: a folder is missing or has no image; the message shows the expected layout.
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
        test_share: float | None = None,
        pictures: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, mean, std, size, mirror, padding, pictures, **options)
        if test_share is not None and not 0 < test_share < 1:
            raise ValueError(f"test_share must be between 0 and 1, got test_share={test_share}.")
        self.test_share = test_share
        self.root = data_root(root, pictures)
        self.folders = {True: self.root / train_folder, False: self.root / test_folder}

    def dataset(self, train: bool) -> "Images":
        """Return the images of one set."""
        if self.test_share:
            images = _read(self.root, partial(Images, transform=self.transform(train)))
            return _part(images, self.root, self.test_share, train)
        folder, other = self.folders[train], self.folders[not train]
        hint = f"For images in {self.root}/CLASS, give test_share." if self.root.is_dir() else ""
        images = _read(folder, partial(Images, transform=self.transform(train)), hint)
        if other.is_dir() and (classes := _read(other, images.find_classes)[0]) != images.classes:
            only = sorted(set(classes) ^ set(images.classes))
            raise ValueError(
                f"{folder} and {other} must have folders for the same classes, got {', '.join(only)} in one only."
            )
        return images


class ImageNetData(ImageFolderData):
    """ILSVRC 2012, or any images in its layout: ``root/train/CLASS/*`` and ``root/val/CLASS/*``.

    The shorter side is resized to ``size``, and the middle is cut out. Training images are mirrored with probability
    0.5. There is no other augmentation, as in the paper.

    Args:
        root: folder that holds the two sets. Default: the environment variable ``TORCHDAU_DATA``.
        size: side of the images in pixels: 227 for AlexNet, 224 for residual networks.
        batch_size: images per batch, in total over all devices.
        num_workers: processes that read images, for each device.
        pictures: folder of pictures to predict instead of the test set ``val``.
        **options: further arguments of :class:`ImageData`.

    Raises:
        ValueError: neither ``root`` nor the environment variable is set, or the two folders have different classes.
        FileNotFoundError: a folder is missing or has no image; the message shows the expected layout.

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


class Images(ImageFolder):  # type: ignore[misc]
    """Images in folders named after their classes. Hidden files and folders, and other files, are left out.

    Args:
        folder: folder of the folders.
        transform: maps an image to its final form.
    """

    def __init__(self, folder: Path, transform: Callable[[Any], Any]) -> None:
        others: list[str] = []

        def is_image(path: str) -> bool:
            if not is_data(path, folder):
                return False
            if path.lower().endswith(IMG_EXTENSIONS):
                return True
            others.append(path)
            return False

        super().__init__(folder, transform, loader=read_picture, is_valid_file=is_image)
        say_left_out(others, folder)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Return the names of the classes, and their numbers.

        Raises:
            FileNotFoundError: there is no class.
        """
        classes = sorted(each.name for each in Path(directory).iterdir() if each.is_dir() and is_data(each, directory))
        if not classes:
            raise FileNotFoundError("There is no folder of a class in it.")
        return classes, {name: number for number, name in enumerate(classes)}


def _part(images: Images, root: Path, test_share: float, train: bool) -> Images:
    """Keep the training or the test images of a folder; an image stays in its set, whatever other images come or go."""

    def is_training(file: str) -> bool:
        name = Path(file).relative_to(root).as_posix()
        return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) >= test_share * 16**8

    kept = [sample for sample in images.samples if is_training(sample[0]) == train]
    if not kept:
        of = f"got test_share={test_share} of {len(images.samples)} images"
        raise ValueError(f"test_share must leave images for both sets, {of}. Give another share, or make two folders.")
    images.samples = images.imgs = kept
    images.targets = [label for _, label in images.samples]
    return images


def _read(folder: Path, reader: Callable[[Path], Any], hint: str = "") -> Any:
    """Read a folder of images; if it is missing or empty, raise an error that shows the expected layout."""
    try:
        return reader(folder)
    except FileNotFoundError as error:
        layout = f"{folder}/CLASS/IMAGE, where IMAGE ends in one of {', '.join(IMG_EXTENSIONS)}"
        found = error if folder.is_dir() else f"There is no folder {folder}."
        if hint and not folder.is_dir():
            found = f"{found} {hint}"
        raise FileNotFoundError(f"root must hold {layout}. {found}") from error
