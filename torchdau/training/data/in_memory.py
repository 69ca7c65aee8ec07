"""Small sets as one tensor: a whole batch is read and augmented at once."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torchdau.training.data.loading import Batches, TrainingSet
from torchdau.training.seeds import mixed_seed

LARGEST = 512 << 20
"""Size in bytes of the largest set held in memory."""

SIDE = 64
"""Side in pixels of the largest images held in memory: reading such a set takes seconds, not minutes."""


class InMemory(Dataset[Any], Batches):
    """Images (N, C, H, W) of 8 bits and their classes.

    Each training image has its own random crop and mirroring, which depend only on the seed, the epoch and the index.

    Args:
        images: the images.
        targets: their classes (N,).
        padding: black pixels around training images, before a random crop to their original size.
        mirror: whether to mirror training images with probability 0.5.
        classes: names of the classes.
        samples: files of each image, if there are any.

    Attributes:
        unreadable: a sentence about each image that was left out.
    """

    unreadable: Sequence[str] = ()

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        padding: int = 0,
        mirror: bool = False,
        classes: Sequence[str] | None = None,
        samples: Sequence[Any] | None = None,
    ) -> None:
        self._padded = F.pad(images, (padding,) * 4)
        self._size = images.shape[2], images.shape[3]
        self.targets, self.classes = targets, classes
        self.padding, self.mirror = padding, mirror
        if samples is not None:
            self.samples = samples
        self._drawn: tuple[int, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image without augmentation, and its class."""
        return self.images[index], self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images without augmentation, and their classes."""
        chosen = torch.tensor(indices, device=self.images.device)
        return self.images[chosen], self.targets[chosen]

    @property
    def images(self) -> Tensor:
        """The images without augmentation."""
        (height, width), p = self._size, self.padding
        return self._padded[..., p : p + height, p : p + width]

    def batch(self, indices: Sequence[int], epoch: int) -> tuple[Tensor, Tensor]:
        """Return augmented images and their classes."""
        if not (self.padding or self.mirror):
            return self.__getitems__(indices)
        chosen, device = torch.tensor(indices), self.targets.device
        offsets, mirrored = (part[chosen].to(device) for part in self._random(epoch))
        chosen = chosen.to(device)
        return parts(self._padded, self._size, chosen, offsets, mirrored), self.targets[chosen]

    def to(self, device: torch.device) -> "InMemory":
        """Move the images to a GPU with four times as much free memory; else leave them in place."""
        if device.type == "cuda" and 4 * self._padded.nbytes < torch.cuda.mem_get_info(device)[0]:
            self._padded, self.targets = self._padded.to(device), self.targets.to(device)
        return self

    def _random(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the start of each image's crop in an epoch (N, 2), and whether it is mirrored (N,)."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = torch.Generator().manual_seed(mixed_seed(epoch))
            offsets = torch.randint(0, 2 * self.padding + 1, (len(self), 2), generator=generator)
            mirrored = torch.rand(len(self), generator=generator) < 0.5
            self._drawn = epoch, offsets, mirrored & self.mirror
        return self._drawn[1:]


def parts(images: Tensor, size: tuple[int, int], chosen: Tensor, offsets: Tensor, mirrored: Tensor) -> Tensor:
    """Cut a part out of each chosen image, and mirror some of the parts.

    Args:
        images: images (N, C, H, W).
        size: height and width of the parts.
        chosen: indices of the images (n,).
        offsets: top left corners of the parts (n, 2).
        mirrored: whether each part is mirrored (n,).
    """
    every = images.unfold(2, size[0], 1).unfold(3, size[1], 1)  # a view of all parts of all images
    cut = every[chosen, :, offsets[:, 0], offsets[:, 1]]
    return torch.where(mirrored[:, None, None, None], cut.flip(-1), cut)


def fits(images: int, size: int | None) -> bool:
    """Return whether this many images of three channels and ``size`` pixels a side may be held in memory."""
    return size is not None and size <= SIDE and 3 * size * size * images <= LARGEST


def read(dataset: Any, num_workers: int, max_unreadable: float, padding: int, mirror: bool) -> InMemory:
    """Read a set of images of one size once, with a progress bar.

    Args:
        dataset: pairs of an 8-bit image (C, H, W) and its class.
        num_workers: processes that read images.
        max_unreadable: share of images that may be unreadable; others replace them.
        padding: argument of :class:`InMemory`.
        mirror: argument of :class:`InMemory`.
    """
    samples = TrainingSet(dataset, max_unreadable)
    batches = DataLoader(samples, batch_size=256, num_workers=num_workers)
    quiet = not Console().is_terminal
    images, targets = zip(*track(batches, "reading images", disable=quiet, transient=True), strict=True)
    if samples.unreadable.any():
        samples.warn()
    names = getattr(dataset, "classes", None), getattr(dataset, "samples", None)
    return InMemory(torch.cat(images), torch.cat(targets), padding, mirror, *names)
