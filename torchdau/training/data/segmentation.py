"""The base class of segmentation data: augmentation, reading and loading of images and masks."""

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
from torchdau.training.data.pictures import Pictures, leave_out_unreadable


class Augment:
    """Random scaling, padding, cropping and mirroring of an image and its mask.

    The padding has the mean colour, and no class.

    Args:
        crop: side of the result in pixels.
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
        """Return the augmented image and mask."""
        result: tuple[Tensor, Tensor] = self.steps(*v2.ScaleJitter(image.shape[-2:], self.scales)(image, mask))
        return result


class SegmentationData(ImageData, ABC):
    """Pairs of an 8-bit image (3, H, W) and a mask (H, W) of its classes, 255 for no class.

    Training images and masks are scaled, padded, cropped and mirrored together at random. Validation, test and
    prediction use whole images, one at a time. The validation set is also the test set.

    Args:
        batch_size: images per training batch, in total over all devices.
        num_workers: processes that read images, for each device.
        crop: side in pixels of random crops of training images.
        scales: smallest and largest factor of random scaling of training images.
        size: pixels to which the shorter side of images and masks is first resized, for validation too. None keeps the
            sizes.
        pictures: folder of pictures to predict instead of the validation set.
        **options: further arguments of :class:`ImageData`.
    """

    classes: list[str]
    """Names of the classes."""
    colours: list[tuple[int, int, int]]
    """Colours in which the classes are shown."""
    table: Tensor | None = None
    """Class of each number in masks, shape (256,), or None if the numbers are classes."""
    check_all = False
    """Whether to read every mask before a training starts."""

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
        """Return the files of the images and masks of the training or the validation set."""

    def setup(self, stage: str) -> None:
        """Open the sets that a stage needs, and check their files."""
        if stage == "predict" and self.pictures:
            self.val: Dataset[Any] = Pictures(self.pictures, v2.Compose([v2.PILToTensor(), _resized(self.size)]))
            return
        if stage == "fit":
            self.train = self._dataset(train=True)
        self.val = self._dataset(train=False, complete=stage != "predict")

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches of the training set in a new order every epoch, without an incomplete last batch."""
        return self.train_loader(self.train, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return images of the validation set, one at a time, since their sizes differ."""
        return self.test_loader(self.val, 1)

    test_dataloader = predict_dataloader = val_dataloader

    def _dataset(self, train: bool, complete: bool = True) -> ImagesAndMasks:
        resize = _resized(self.size)
        transform = v2.Compose([resize, Augment(self.crop, self.scales)]) if train else resize
        dataset = ImagesAndMasks(self.pairs(train), len(self.classes), self.table, transform)
        if not complete:
            leave_out_unreadable(dataset)
        dataset.check(self.check_all, self.max_unreadable if train else 0.0)
        absent = [name for number, name in enumerate(self.classes) if number not in dataset.seen]
        if train and dataset.seen and absent:
            rank_zero_warn(
                f"training masks have no pixel of {', '.join(absent)}: 255 is no class, but what is left out"
            )
        return dataset


def _resized(size: int | None) -> v2.Transform:
    return v2.Identity() if size is None else v2.Resize(size)
