"""The data module of deblurring: pairs of a blurred and a sharp image in the layout of GOPRO."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from torchdau.training.data.faults import MOST_NAMED
from torchdau.training.data.files import only_pictures
from torchdau.training.data.headers import check_headers
from torchdau.training.data.images import ImageData, data_root
from torchdau.training.data.pictures import Pictures, leave_out_unreadable, picture_shape, read_picture

Pair = tuple[str, str]


class BlurredAndSharp(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a blurred and a sharp image.

    Args:
        pairs: files of each pair.
        crop: side in pixels of the random crop; None keeps whole images.

    Attributes:
        samples: files of each pair.
        unreadable: a sentence about each pair that was left out.
    """

    def __init__(self, pairs: Sequence[Pair], crop: int | None) -> None:
        self.samples = list(pairs)
        self.unreadable: list[str] = []
        self.crop = crop

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a blurred and a sharp image (3, H, W), 8 bits each."""
        blurred, sharp = (F.pil_to_tensor(read_picture(file)) for file in self.samples[index])
        if blurred.shape != sharp.shape:
            raise ValueError(_sizes(self.samples[index], blurred.shape[-2:], sharp.shape[-2:]))
        if self.crop:
            both = v2.RandomCrop(self.crop)(torch.stack([blurred, sharp]))
            blurred, sharp = both
        return blurred, sharp


class GOPROData(ImageData):
    """GOPRO, or any pairs in its layout: ``root/{train,test}/SEQUENCE/{blur,blur_gamma,sharp}/*``.

    Training uses a random crop of each pair and no other augmentation, as in the paper. The test set is also the
    validation set.

    Args:
        root: folder that holds the two sets. Default: the environment variable ``TORCHDAU_DATA``.
        gamma: whether to read ``blur_gamma``, images blurred with gamma correction. Default: ``blur``, GOPRO's linear
            images, as in the paper.
        batch_size: images per training batch, in total over all devices.
        num_workers: processes that read images, for each device.
        crop: side in pixels of random crops of training images.
        pictures: folder of pictures to predict instead of the test set.
        **options: further arguments of :class:`ImageData`.

    Raises:
        FileNotFoundError: a folder or the partner of an image is missing.
        ValueError: the sizes of a pair differ, or an image is damaged; the message names the files.

    Reference:
        Nah, Kim, Lee, Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring, CVPR 2017; section 7
        of the paper.
    """

    def __init__(
        self,
        root: str | None = None,
        gamma: bool = False,
        batch_size: int = 16,
        num_workers: int = 8,
        crop: int = 256,
        pictures: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, mean=(0, 0, 0), std=(1, 1, 1), **options)
        self.root = data_root(root, pictures)
        self.kind = "blur_gamma" if gamma else "blur"
        self.crop = crop
        self.pictures = pictures

    def setup(self, stage: str) -> None:
        """Open the sets that a stage needs, and check their files."""
        if stage == "predict" and self.pictures:
            self.test: Dataset[Any] = Pictures(self.pictures, F.pil_to_tensor)
            return
        if stage == "fit":
            self.train = self._dataset(train=True)
        self.test = self._dataset(train=False, complete=stage != "predict")

    def pairs(self, train: bool) -> list[Pair]:
        """Return the files of the blurred and the sharp images of one set."""
        folder = self.root / ("train" if train else "test")
        found = {
            kind: {(p.parts[-3], p.name): p for p in only_pictures(folder.glob(f"*/{kind}/*"), folder)}
            for kind in (self.kind, "sharp")
        }
        blurred, sharp = found[self.kind], found["sharp"]
        alone = [
            str(found[kind][key]) for kind in found for key in sorted(found[kind].keys() - (blurred.keys() & sharp))
        ]
        if alone or not blurred:
            some = ", ".join(alone[:MOST_NAMED]) or "no image at all"
            raise FileNotFoundError(
                f"root must hold pairs {folder}/SEQUENCE/{self.kind}/NAME and {folder}/SEQUENCE/sharp/NAME, got "
                f"{len(alone)} without a partner: {some}."
            )
        return [(str(blurred[key]), str(sharp[key])) for key in sorted(blurred)]

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches of the training set in a new order every epoch, without an incomplete last batch."""
        return self.train_loader(self.train, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return whole images of the test set, one at a time."""
        return self.test_loader(self.test, 1)

    test_dataloader = predict_dataloader = val_dataloader

    def _dataset(self, train: bool, complete: bool = True) -> BlurredAndSharp:
        """Return a set whose files were checked; ``complete`` refuses one with unreadable images."""
        crop = self.crop if train else None
        dataset = BlurredAndSharp(self.pairs(train), crop)
        if not complete:
            leave_out_unreadable(dataset)
        most = self.max_unreadable if train else 0.0
        check_headers(dataset.samples, list, partial(_fault, least=crop or 0), most, ("pairs", crop))
        return dataset

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Scale intensities to [0, 1]."""
        blurred, sharp = batch
        return self.normalise(blurred), self.normalise(sharp) if sharp.ndim == 4 else sharp


def _fault(pair: Pair, least: int) -> str | None:
    """Return the fault of a pair, as far as the headers of its files show it.

    Raises:
        ValueError: the crop is larger than the pair; others may be like it.
    """
    try:
        shape, other = (picture_shape(file) for file in pair)
    except ValueError as error:
        return str(error)
    if shape != other:
        return _sizes(pair, shape, other)
    if min(shape) < least:
        raise ValueError(
            f"crop must be at most the sides of images, got crop={least} for {shape[1]} x {shape[0]} pixels in "
            f"{pair[0]!r}. Give a smaller one: --data.init_args.crop {min(shape)}."
        )
    return None


def _sizes(pair: Pair, *shapes: Sequence[int]) -> str:
    sizes = [f"{width} x {height} pixels" for height, width in shapes]
    return f"pairs must have one size, got {sizes[0]} in {pair[0]!r} and {sizes[1]} in {pair[1]!r}."
