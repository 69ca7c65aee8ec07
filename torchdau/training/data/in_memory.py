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
"""Bytes of the largest set that is held in memory."""

SIDE = 64
"""Pixels along a side of the largest images of such a set: reading them takes seconds, not minutes."""


class InMemory(Dataset[Any], Batches):
    """Images (N, C, H, W) of 8 bits and their classes.

    Each training image is cut out and mirrored by its own random numbers, which depend on seed, epoch and index alone.

    Args:
        images: the images.
        targets: their classes (N,).
        padding: black pixels put around training images, of which a part of their size is cut out at random.
        mirror: whether training images are mirrored half of the time.
        classes: names of the classes.
        samples: the files of each image, where there are any.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        padding: int = 0,
        mirror: bool = False,
        classes: Sequence[str] | None = None,
        samples: Sequence[Any] | None = None,
    ) -> None:
        self.images, self.targets, self.classes = images, targets, classes
        self.padding, self.mirror = padding, mirror
        if samples is not None:
            self.samples = samples
        self._drawn: tuple[int, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """An image as it is, and its class."""
        return self.images[index], self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images as they are, and their classes."""
        chosen = torch.tensor(indices, device=self.images.device)
        return self.images[chosen], self.targets[chosen]

    def batch(self, indices: Sequence[int], epoch: int) -> tuple[Tensor, Tensor]:
        """Augmented images, and their classes."""
        images, targets = self.__getitems__(indices)
        if not (self.padding or self.mirror):
            return images, targets
        offsets, mirrored = (part[torch.tensor(indices)].to(images.device) for part in self._random(epoch))
        return moved(images, self.padding, offsets, mirrored), targets

    def to(self, device: torch.device) -> "InMemory":
        """Move the images to a GPU with four times as much free memory; elsewhere they stay."""
        if device.type == "cuda" and 4 * self.images.nbytes < torch.cuda.mem_get_info(device)[0]:
            self.images, self.targets = self.images.to(device), self.targets.to(device)
        return self

    def _random(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return where each image of an epoch is cut out (N, 2), and whether it is mirrored (N,)."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = torch.Generator().manual_seed(mixed_seed(epoch))
            offsets = torch.randint(0, 2 * self.padding + 1, (len(self), 2), generator=generator)
            mirrored = torch.rand(len(self), generator=generator) < 0.5
            self._drawn = epoch, offsets, mirrored & self.mirror
        return self._drawn[1:]


def moved(images: Tensor, padding: int, offsets: Tensor, mirrored: Tensor) -> Tensor:
    """Cut out a part of each padded image, and mirror some.

    Args:
        images: images (N, C, H, W).
        padding: zeros around them.
        offsets: where the parts (H, W) begin (N, 2), from 0 to twice the padding.
        mirrored: which ones are mirrored (N,).
    """
    height, width = images.shape[2:]
    parts = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view of all of them
    chosen = parts[torch.arange(len(images), device=images.device), :, offsets[:, 0], offsets[:, 1]]
    return torch.where(mirrored[:, None, None, None], chosen.flip(-1), chosen)


def fits(images: int, size: int | None) -> bool:
    """Whether so many images of three channels and ``size`` pixels a side may be held in memory."""
    return size is not None and size <= SIDE and 3 * size * size * images <= LARGEST


def read(dataset: Any, num_workers: int, max_unreadable: float, padding: int, mirror: bool) -> InMemory:
    """Read a set of images of one size once, with a progress bar.

    Args:
        dataset: pairs of an image of 8 bits (C, H, W) and its class.
        num_workers: processes that read.
        max_unreadable: share of images that may be unreadable; others stand in for them.
        padding: of :class:`InMemory`, as mirror.
        mirror: see there.
    """
    samples = TrainingSet(dataset, max_unreadable)
    batches = DataLoader(samples, batch_size=256, num_workers=num_workers)
    quiet = not Console().is_terminal
    images, targets = zip(*track(batches, "reading images", disable=quiet, transient=True), strict=True)
    if samples.unreadable.any():
        samples.warn()
    names = getattr(dataset, "classes", None), getattr(dataset, "samples", None)
    return InMemory(torch.cat(images), torch.cat(targets), padding, mirror, *names)
