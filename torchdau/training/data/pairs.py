"""Pairs of an image and the mask of its classes: read, and checked before a training starts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import Mask

from torchdau.training.data.faults import refuse_faults
from torchdau.training.data.headers import check_headers
from torchdau.training.data.masks import IGNORED, check_mode, read_mask
from torchdau.training.data.pictures import picture_shape, read_picture

Pair = tuple[str, str]


class ImagesAndMasks(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of an image and the mask of its classes.

    Args:
        pairs: files of each image and its mask.
        num_classes: number of classes; masks may have smaller numbers, and 255.
        table: class of each number in the files, shape (256,), -1 for invalid numbers. None keeps the numbers.
        transform: maps an 8-bit image (3, H, W) and its mask (1, H, W) to their final form.

    Attributes:
        samples: files of each pair.
        seen: numbers in masks, once all their pixels were checked.
        unreadable: a sentence about each image that was left out.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        num_classes: int,
        table: Tensor | None,
        transform: Callable[[Any, Any], tuple[Tensor, Tensor]],
    ) -> None:
        self.samples = list(pairs)
        self.num_classes = num_classes
        self.table = table
        self.transform = transform
        self.seen: set[int] = set()
        self.unreadable: list[str] = []

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image (3, H, W) and its mask (H, W), 8 bits each."""
        image, mask = self.samples[index]
        picture, numbers = F.pil_to_tensor(read_picture(image)), self.mask(mask)
        if picture.shape[-2:] != numbers.shape:
            raise ValueError(_sizes(image, picture.shape[-2:], mask, numbers.shape))
        picture, numbers = self.transform(picture, Mask(numbers[None]))
        return picture, numbers.as_subclass(Tensor)[0]

    def check(self, all_pixels: bool, most: float = 0.0) -> None:
        """Check the headers of all files and, on request, all pixels of the masks.

        Args:
            all_pixels: whether to check all pixels of the masks.
            most: share of the pairs that may have a fault.

        Raises:
            ValueError: sizes differ, masks have colours or numbers of no class, or files are damaged. The message names
                the first of them.
        """
        if all_pixels:
            refuse_faults(self.samples, lambda pair: self._fault(pair, all_pixels), "looking at masks", most)
        else:
            check_headers(self.samples, list, lambda pair: self._fault(pair, all_pixels), most, ["masks"])

    def mask(self, file: str) -> Tensor:
        """Return the classes in a mask.

        Raises:
            ValueError: the mask has numbers of no class; the message names the file.
        """
        numbers = read_mask(file)
        if self.table is not None:
            classes = self.table[numbers.int()]
            if classes.min() < 0:
                raise ValueError(f"masks must have known numbers, got {int(numbers[classes < 0][0])} in {file!r}.")
            return classes.to(torch.uint8)
        wrong = numbers[(numbers >= self.num_classes) & (numbers != IGNORED)]
        if len(wrong):
            raise ValueError(
                f"masks must have numbers below {self.num_classes}, the number of classes, or {IGNORED}, got "
                f"{int(wrong.max())} in {file!r}."
            )
        return numbers

    def _fault(self, pair: Pair, all_pixels: bool) -> str | None:
        """Return the fault of a pair, or None."""
        image, mask = pair
        try:
            shape = picture_shape(image)
            if all_pixels:
                numbers = self.mask(mask)
                self.seen.update(numbers.unique().tolist())
                height, width = numbers.shape
                found = height, width
            elif mask.endswith(".mat"):  # these have no header
                return None if Path(mask).is_file() else f"file must be a mask, got {mask!r}, which is not there."
            else:
                check_mode(mask)
                found = picture_shape(mask)
        except ValueError as error:
            return str(error)
        return None if found == shape else _sizes(image, shape, mask, found)


def _sizes(image: str, shape: Sequence[int], mask: str, other: Sequence[int]) -> str:
    return (
        f"masks must have the size of their images, got {other[1]} x {other[0]} pixels in {mask!r} for {shape[1]} x "
        f"{shape[0]} in {image!r}."
    )
