"""The base class of classification data: augmentation, reading and loading of images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from torchdau.training.data.headers import check_headers
from torchdau.training.data.images import ImageData
from torchdau.training.data.in_memory import InMemory, fits, read
from torchdau.training.data.pictures import Pictures, header_fault, leave_out_unreadable


class ClassificationData(ImageData, ABC):
    """Pairs of an 8-bit image (C, H, W) and its class, normalised a batch at a time.

    A set of small images, such as CIFAR-10, is read once and held in memory, on the GPU if there is one.

    The test set is also the validation set, as in the paper, which has no separate one.

    Args:
        batch_size: images per batch, in total over all devices.
        num_workers: processes that read images, for each device.
        mean: mean of each channel, of intensities in [0, 1].
        std: standard deviation of each channel.
        size: side of the images in pixels: the shorter side is resized to it and the middle is cut out. Default: images
            are not resized.
        mirror: whether to mirror training images with probability 0.5.
        padding: black pixels around training images, before a random crop to their original size.
        pictures: folder of pictures to predict instead of the test set.
        **options: further arguments of :class:`ImageData`.
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
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, mean, std, **options)
        if padding and size is None:
            raise ValueError(f"size must be given with padding, got size=None for padding={padding}.")
        self.size = size
        self.mirror = mirror
        self.padding = padding
        self.pictures = pictures

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, known after :meth:`setup`; None for pictures to predict."""
        return getattr(self.test, "classes", None)

    @abstractmethod
    def dataset(self, train: bool) -> Dataset[Any]:
        """Return the training or the test set."""

    def setup(self, stage: str) -> None:
        """Open the sets that a stage needs."""
        if stage == "predict" and self.pictures:
            if self.size is None:
                raise ValueError("size must be given for pictures, which have many, got size=None.")
            self.test: Dataset[Any] = Pictures(self.pictures, self.transform(train=False))
            return
        if stage == "fit":
            self.train = self._held(train=True)
        if not isinstance(getattr(self, "test", None), InMemory):
            self.test = self._held(train=False, complete=stage != "predict")

    def _held(self, train: bool, complete: bool = True) -> Dataset[Any]:
        """Return a set, in memory if its images are few and small; ``complete`` refuses one with unreadable images."""
        dataset: Any = self.dataset(train)
        if isinstance(dataset, InMemory):
            return dataset
        most = self.max_unreadable if train else 0.0
        if not complete and hasattr(dataset, "samples"):
            leave_out_unreadable(dataset)
        if not fits(len(dataset), self.size):
            files = [file for file, _ in getattr(dataset, "samples", [])]
            check_headers(files, lambda file: [file], header_fault, most, ["images"])
            return dataset
        dataset.transform = self.transform(train=False)
        augmentation = (self.padding, self.mirror) if train else (0, False)
        held = read(dataset, self.num_workers, most, *augmentation)
        held.unreadable = getattr(dataset, "unreadable", [])
        return held

    def transform(self, train: bool) -> Callable[[Any], Tensor]:
        """Return the transform from an image as it is read to 8-bit pixels (3, H, W)."""
        steps: list[Callable[[Any], Any]] = []
        if self.size is not None:
            steps += [v2.Resize(self.size), v2.CenterCrop(self.size)]
        if train and self.padding:
            steps.append(v2.RandomCrop(self.size, self.padding))
        if train and self.mirror:
            steps.append(v2.RandomHorizontalFlip())
        return v2.Compose([*steps, v2.PILToTensor()])

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches of the training set in a new order every epoch, without a last batch of a single image.

        Normalisation by batches cannot learn from one value for each channel.
        """
        images = len(self.train)  # type: ignore[arg-type]
        return self.train_loader(self.train, drop_last=images > self.batch_size and images % self.batch_size == 1)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches of the test set."""
        return self.test_loader(self.test, self.batch_size)

    test_dataloader = predict_dataloader = val_dataloader
