"""What the data modules of segmentation have in common: how images and masks are augmented, read and served."""

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.tv_tensors import Mask

from torchdau.training.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageData
from torchdau.training.data.masks import IGNORED
from torchdau.training.data.pairs import ImagesAndMasks, Pair
from torchdau.training.data.pictures import Pictures


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
        **options: further arguments of :class:`ImageData`.
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
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, IMAGENET_MEAN, IMAGENET_STD, **options)
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
            self.val: Dataset[Any] = Pictures(self.pictures, v2.Compose([v2.PILToTensor(), _resized(self.size)]))
            return
        if stage == "fit":
            self.train = self._dataset(train=True)
        self.val = self._dataset(train=False)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the training set in a new order every epoch; what is left over waits for the next."""
        return self.train_loader(self.train, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Images of the validation set, one at a time, since their sizes differ."""
        return self.test_loader(self.val, 1)

    test_dataloader = predict_dataloader = val_dataloader

    def _dataset(self, train: bool) -> ImagesAndMasks:
        resize = _resized(self.size)
        transform = v2.Compose([resize, Augment(self.crop, self.scales)]) if train else resize
        dataset = ImagesAndMasks(self.pairs(train), len(self.classes), self.table, transform)
        dataset.check(self.check_all, self.max_unreadable if train else 0.0)
        absent = [name for number, name in enumerate(self.classes) if number not in dataset.seen]
        if train and dataset.seen and absent:
            rank_zero_warn(
                f"training masks have no pixel of {', '.join(absent)}: 255 is no class, but what is left out"
            )
        return dataset


def _resized(size: int | None) -> v2.Transform:
    return v2.Identity() if size is None else v2.Resize(size)
