"""Data modules of segmentation: where images and their masks lie, and how they are read."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import Cityscapes, SBDataset, VOCSegmentation
from torchvision.transforms import v2
from torchvision.tv_tensors import Mask

from torchdau.training.faults import MOST_NAMED
from torchdau.training.image_data import IMAGENET_MEAN, IMAGENET_STD, ImageData
from torchdau.training.masks import IGNORED, colour_map
from torchdau.training.pairs import ImagesAndMasks, Pair
from torchdau.training.pictures import Pictures

VOC_CLASSES = [
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
]


class Augment:
    """Scales, pads, crops and mirrors an image and its mask at random; the padding has the mean colour, and no class.

    Args:
        crop: side in pixels of what is left.
        scales: smallest and largest factor.
    """

    def __init__(self, crop: int, scales: tuple[float, float]) -> None:
        self.scales = scales
        mean = [255 * value for value in IMAGENET_MEAN]
        self.steps = v2.Compose(
            [
                v2.RandomCrop(crop, pad_if_needed=True, fill={Tensor: mean, Mask: IGNORED}),
                v2.RandomHorizontalFlip(),
            ]
        )

    def __call__(self, image: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """What becomes of an image and its mask."""
        result: tuple[Tensor, Tensor] = self.steps(*v2.ScaleJitter(image.shape[-2:], self.scales)(image, mask))
        return result


class SegmentationData(ImageData, ABC):
    """Pairs of an 8-bit image (3, H, W) and a mask (H, W) of its classes, with 255 where there is none.

    Training images are scaled, padded, cropped and mirrored at random, together with their masks. Validation, test and
    prediction see whole images, one at a time. The validation set serves for testing too.

    Args:
        batch_size: images per training batch, of all devices together.
        num_workers: processes that read images, for each device.
        crop: side in pixels of the part of a training image that is learned from.
        scales: smallest and largest factor by which training images are scaled.
        size: pixels to which the shorter side of images and masks is brought at first, for validation too; none leaves
            them as they are.
        pictures: folder of pictures to predict, in place of the validation set.
    """

    classes: list[str]
    """Names of the classes."""
    colours: list[tuple[int, int, int]]
    """In which the classes are shown."""
    table: Tensor | None = None
    """What the numbers in masks mean, of shape (256,)."""
    check_all = False
    """Whether every mask is read before a training starts."""

    def __init__(
        self,
        batch_size: int,
        num_workers: int,
        crop: int,
        scales: tuple[float, float],
        size: int | None,
        pictures: str | None,
    ) -> None:
        super().__init__(batch_size, num_workers, IMAGENET_MEAN, IMAGENET_STD)
        self.crop = crop
        self.scales = scales
        self.size = size
        self.pictures = pictures

    @abstractmethod
    def pairs(self, train: bool) -> list[Pair]:
        """Files of the images and masks of the training or the validation set."""

    def setup(self, stage: str) -> None:
        """Opens the sets that a stage needs, and looks for what is wrong with their files."""
        if stage == "predict" and self.pictures:
            self.val: Dataset[Any] = Pictures(self.pictures, v2.Compose([v2.PILToTensor(), _resize(self.size)]))
            return
        if stage == "fit":
            self.train = self._dataset(train=True)
            if len(self.train) < self.batch_size:
                raise ValueError(
                    f"batch_size must be at most the number of training images, {len(self.train)}, got batch_size="
                    f"{self.batch_size}."
                )
        self.val = self._dataset(train=False)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the training set in a new order every epoch; what is left over waits for the next."""
        return self.train_loader(self.train, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Images of the validation set, one at a time, since their sizes differ."""
        return self.test_loader(self.val, 1)

    test_dataloader = predict_dataloader = val_dataloader

    def _dataset(self, train: bool) -> ImagesAndMasks:
        resize = _resize(self.size)
        transform = v2.Compose([resize, Augment(self.crop, self.scales)]) if train else resize
        dataset = ImagesAndMasks(self.pairs(train), len(self.classes), self.table, transform)
        dataset.check(self.check_all)
        absent = [name for number, name in enumerate(self.classes) if number not in dataset.seen]
        if train and dataset.seen and absent:
            rank_zero_warn(
                f"training masks have no pixel of {', '.join(absent)}: 255 is no class, but what is left out"
            )
        return dataset


class VOCData(SegmentationData):
    """PASCAL VOC joined with SBD, in their original layouts.

    Training images are those of VOC's training set, with its masks, and all others of SBD's training set, with SBD's.
    Validation images are those of VOC's validation set which are not in SBD's training set: 736 of VOC 2011.

    Args:
        root: folder that holds ``VOCdevkit`` (``TrainVal/VOCdevkit`` for 2011) and the folder of SBD. Default: the
            environment variable ``TORCHDAU_DATA``.
        year: of VOC. Default: the paper's.
        sbd: folder of SBD with ``img``, ``cls`` and ``train.txt``, inside of the root.
        batch_size: images per training batch, of all devices together.
        num_workers: processes that read images, for each device.
        crop: side in pixels of the part of a training image that is learned from.
        scales: smallest and largest factor by which training images are scaled. Default: none is, as in the paper,
            which does not speak of mirroring either.
        pictures: folder of pictures to predict, in place of the validation set.

    Reference:
        Everingham et al., The PASCAL Visual Object Classes Challenge 2011; Hariharan et al., Semantic Contours from
        Inverse Detectors, ICCV 2011; section 4.3 of the paper.
    """

    classes = VOC_CLASSES
    colours = colour_map(21)

    def __init__(
        self,
        root: str | None = None,
        year: str = "2011",
        sbd: str = "benchmark_RELEASE/dataset",
        batch_size: int = 20,
        num_workers: int = 8,
        crop: int = 500,
        scales: tuple[float, float] = (1, 1),
        pictures: str | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, crop, scales, None, pictures)
        self.root = _root(root, pictures)
        self.year = year
        self.sbd = sbd

    def pairs(self, train: bool) -> list[Pair]:
        """Images and masks of the training or the validation set."""
        try:
            voc = VOCSegmentation(self.root, self.year, "train" if train else "val")
            sbd = SBDataset(self.root / self.sbd, "train", "segmentation")
        except (RuntimeError, FileNotFoundError) as error:
            raise FileNotFoundError(
                f"root must hold VOC {self.year} as its archive unpacks, and SBD in {self.sbd}, got root="
                f"{str(self.root)!r}: {error}."
            ) from error
        sets = [dict(zip(map(_stem, s.images), zip(s.images, s.masks, strict=True), strict=True)) for s in (voc, sbd)]
        if train:
            return list((sets[1] | sets[0]).values())
        return [pair for name, pair in sets[0].items() if name not in sets[1]]


class CityscapesData(SegmentationData):
    """Cityscapes in its original layout, with its fine masks and the 19 classes that are evaluated.

    Args:
        root: folder that holds ``leftImg8bit`` and ``gtFine``. Default: the environment variable ``TORCHDAU_DATA``.
        batch_size: images per training batch, of all devices together.
        num_workers: processes that read images, for each device.
        crop: side in pixels of the part of a training image that is learned from.
        scales: smallest and largest factor by which training images are scaled.
        pictures: folder of pictures to predict, in place of the validation set.

    Reference:
        Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016; section 6.2 of the
        paper.
    """

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 8,
        num_workers: int = 8,
        crop: int = 769,
        scales: tuple[float, float] = (0.5, 2.0),
        pictures: str | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, crop, scales, None, pictures)
        self.root = _root(root, pictures)
        evaluated = sorted((c for c in Cityscapes.classes if c.train_id not in (-1, IGNORED)), key=lambda c: c.train_id)
        self.classes = [c.name for c in evaluated]
        self.colours = [c.color for c in evaluated]
        self.table = torch.full((256,), -1)
        self.table[IGNORED] = IGNORED  # the license plate, -1
        for c in Cityscapes.classes:
            self.table[c.id] = c.train_id if c in evaluated else IGNORED

    def pairs(self, train: bool) -> list[Pair]:
        """Images and masks of the training or the validation set."""
        try:
            found = Cityscapes(self.root, "train" if train else "val", target_type="semantic")
        except (RuntimeError, FileNotFoundError) as error:
            raise FileNotFoundError(
                f"root must hold leftImg8bit and gtFine of Cityscapes, each with train and val, got root="
                f"{str(self.root)!r}: {error}."
            ) from error
        return sorted((image, masks[0]) for image, masks in zip(found.images, found.targets, strict=True))


class SegmentationFolderData(SegmentationData):
    """Any images and masks: ``root/train/images/*`` and ``root/train/masks/*``, with the same names, and so ``val``.

    Masks have the number of a class in each pixel, or 255, as palette or single channel. All of them are read before
    a training starts.

    Args:
        classes: names of the classes, in the order of their numbers.
        root: folder that holds the two sets. Default: the environment variable ``TORCHDAU_DATA``.
        batch_size: images per training batch, of all devices together.
        num_workers: processes that read images, for each device.
        crop: side in pixels of the part of a training image that is learned from.
        scales: smallest and largest factor by which training images are scaled.
        size: pixels to which the shorter side of images and masks is brought at first, for validation too; none leaves
            them as they are.
        pictures: folder of pictures to predict, in place of the validation set.

    Raises:
        FileNotFoundError: a folder is missing, or an image has no mask.
        ValueError: masks are not what they must be; the message names files.
    """

    check_all = True

    def __init__(
        self,
        classes: list[str],
        root: str | None = None,
        batch_size: int = 8,
        num_workers: int = 2,
        crop: int = 512,
        scales: tuple[float, float] = (0.5, 2.0),
        size: int | None = None,
        pictures: str | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, crop, scales, size, pictures)
        self.root = _root(root, pictures)
        self.classes = classes
        self.colours = colour_map(len(classes) + 1)[1:]  # black is for pixels without a class

    def pairs(self, train: bool) -> list[Pair]:
        """Images and masks of the training or the validation set."""
        folder = self.root / ("train" if train else "val")
        for part in (folder / "images", folder / "masks"):
            if not part.is_dir():
                raise FileNotFoundError(f"root must hold train and val with images and masks, but {part} is missing.")
        images = sorted(path for path in (folder / "images").iterdir() if not path.name.startswith("."))
        masks = {path.stem: path for path in sorted((folder / "masks").iterdir())}
        alone = [image for image in images if image.stem not in masks]
        if alone or not images:
            some = ", ".join(map(str, alone[:MOST_NAMED])) or "no image at all"
            raise FileNotFoundError(
                f"root must hold for every image a mask of the same name, but {folder} has {len(alone)} alone: {some}."
            )
        return [(str(image), str(masks[image.stem])) for image in images]


def _resize(size: int | None) -> v2.Transform:
    return v2.Identity() if size is None else v2.Resize(size)


def _stem(file: str) -> str:
    return Path(file).stem


def _root(root: str | None, pictures: str | None) -> Path:
    root = root or os.environ.get("TORCHDAU_DATA")
    if not root and not pictures:
        raise ValueError(
            f"root must name the folder of the data set, got root={root!r}. Give data.init_args.root, or set the "
            "environment variable TORCHDAU_DATA."
        )
    return Path(root or "")
