"""Training batches that depend only on the seed, the epoch and their number, so that a stopped epoch can resume."""

import multiprocessing
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from threading import Thread
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from torchdau.training.data.faults import MOST_NAMED
from torchdau.training.data.pictures import UNREADABLE
from torchdau.training.seeds import mixed_seed

Key = tuple[int, int]
"""Index of a sample, and the epoch for which it is drawn."""


class RandomOrder(DistributedSampler[int]):
    """PyTorch's sampler for one or several devices, with the epoch added to each index.

    Attributes:
        start: number of samples to skip at the beginning of the next epoch.
    """

    start = 0

    def __iter__(self) -> Iterator[Key]:  # type: ignore[override]
        """Iterate over pairs of an index and the epoch."""
        return ((index, self.epoch) for index in islice(super().__iter__(), self.start, None))


class Batches(ABC):
    """A data set that makes whole batches."""

    @abstractmethod
    def batch(self, indices: Sequence[int], epoch: int) -> Any:
        """Return a batch of samples, drawn for an epoch."""


class TrainingSet(Dataset[Any]):
    """Samples whose random numbers depend only on the seed, the epoch and the index: not on workers or devices.

    Args:
        dataset: samples. Its attribute ``samples`` has the files of each, if there are any.
        max_unreadable: share of samples that may be unreadable; the next readable sample replaces each of them.

    Attributes:
        unreadable: whether each sample is unreadable, shape (len(dataset),); shared by the workers.
    """

    def __init__(self, dataset: Dataset[Any], max_unreadable: float = 0.0) -> None:
        if not 0 <= max_unreadable < 1:
            raise ValueError(
                f"max_unreadable must be a share of at least 0 and below 1, got max_unreadable={max_unreadable}."
            )
        self.dataset = dataset
        self.max_unreadable = max_unreadable
        self.unreadable = torch.zeros(len(self), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Key | int) -> Any:
        """Return a sample for an epoch, by default the first."""
        index, epoch = (key, 0) if isinstance(key, int) else key
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mixed_seed(epoch, index))
            while True:
                try:
                    return self.dataset[index]
                except (ValueError, *UNREADABLE) as error:
                    self._note(index, error)
                    index = (index + 1) % len(self)

    def __getitems__(self, keys: Sequence[Key | int]) -> Any:
        """Return samples for an epoch: a list, or a batch if the data set makes whole ones."""
        if not isinstance(self.dataset, Batches):
            return [self[key] for key in keys]
        indices, epochs = zip(*((key, 0) if isinstance(key, int) else key for key in keys), strict=True)
        return self.dataset.batch(indices, epochs[0])

    def files(self, index: int) -> str:
        """Return the files of a sample, or its index."""
        samples = getattr(self.dataset, "samples", None)
        if samples is None:
            return f"sample {index}"
        return " and ".join(file for file in samples[index] if isinstance(file, str))

    def warn(self) -> None:
        """Warn of the unreadable samples, and list them."""
        unreadable = self.unreadable.nonzero().flatten().tolist()
        files = "\n".join(map(self.files, unreadable))
        warnings.warn(f"others stood in for {len(unreadable)} unreadable training samples:\n{files}", stacklevel=3)

    def _note(self, index: int, error: Exception) -> None:
        """Remember an unreadable sample; raise an error if there are too many."""
        self.unreadable[index] = True
        found: list[int] = self.unreadable.nonzero().flatten().tolist()
        if len(found) <= self.max_unreadable * len(self):
            return
        more = f" Others: {'; '.join(map(self.files, found[:MOST_NAMED]))}." if len(found) > 1 else ""
        raise ValueError(
            f"{self.files(index)}: {error} These are {len(found)} of {len(self)} samples, more than "
            f"max_unreadable={self.max_unreadable:g} allows.{more}"
        ) from error


class TrainingLoader(DataLoader[Any]):
    """Batches of a training set, in a new order every epoch.

    A loader restored from a checkpoint in the middle of an epoch continues with the next batch. An iterator reads its
    position when its first batch is requested: Lightning makes it before it sets the epoch of the sampler.

    Args:
        dataset: samples to draw from.
        sampler: order of the samples; only :class:`RandomOrder` can resume in an epoch.
        **options: further arguments of ``DataLoader``.
    """

    dataset: TrainingSet

    def __init__(self, dataset: TrainingSet, sampler: Sampler[Any], **options: Any) -> None:
        options.setdefault("generator", torch.Generator())  # making an iterator must not change the global one
        super().__init__(dataset, sampler=sampler, **options)
        self.reached = [0, 0]
        """Epoch, and number of its batches that were returned."""
        self.resumed: list[int] | None = None
        """Value of ``reached`` from which the next epoch resumes."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the remaining batches of an epoch."""
        order, done = self.sampler, 0
        if isinstance(order, RandomOrder):
            if self.resumed and self.resumed[0] == order.epoch and self.resumed[1] < len(self):
                done = self.resumed[1]
            order.start = done * (self.batch_size or 1)
        self.resumed = None
        known = int(self.dataset.unreadable.sum())
        for number, batch in enumerate(super().__iter__(), done + 1):
            self.reached = [getattr(order, "epoch", 0), number]
            yield batch
        if self.dataset.unreadable.sum() > known:
            self.dataset.warn()

    def files(self, batch: int) -> list[str]:
        """Return the files of a batch of this epoch."""
        order = self.sampler
        whole = DistributedSampler.__iter__(order) if isinstance(order, RandomOrder) else iter(order)
        size = self.batch_size or 1
        return [self.dataset.files(index) for index in islice(whole, batch * size, (batch + 1) * size)]

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the loader."""
        return {"reached": self.reached}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved position."""
        self.resumed = state["reached"]


def end_with_parent(worker: int) -> None:
    """End a worker when the process that reads from it ends, even if that process is killed, and not before.

    PyTorch does this for forked workers, but not for workers started by a server, as from Python 3.14 on. Ctrl-C in a
    terminal signals all processes of a group. In a group of its own, the worker serves the batch in progress.

    Args:
        worker: number of the worker, an argument of ``worker_init_fn``.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("end_with_parent must be called in a worker, got the main process.")

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
    if os.name == "posix":
        os.setpgid(0, 0)
