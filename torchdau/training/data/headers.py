"""Checks of images before a training that read headers only, and are remembered for the next training."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

from torchdau import __version__
from torchdau.training.data.faults import refuse_faults

Sample = TypeVar("Sample")


MOST_CHECKED = 20_000
"""Samples whose headers are read before a training, evenly chosen; others are checked when they are read."""


def check_headers(
    samples: Sequence[Sample],
    files: Callable[[Sample], Iterable[str]],
    fault: Callable[[Sample], str | None],
    most: float,
    kind: Sequence[object],
) -> None:
    """Check the headers of at most :data:`MOST_CHECKED` samples, unless they were checked before and are the same.

    Args:
        samples: samples to check.
        files: returns the files of a sample.
        fault: returns the fault of a sample, or None. It runs in several threads.
        most: largest share of the samples that may have a fault.
        kind: name of the check, and the settings it depends on.

    Raises:
        ValueError: more samples have faults.
    """
    some = samples[:: max(1, -(-len(samples) // MOST_CHECKED))]
    seen = _remembered([__version__, *kind, most, *(_listed(file) for sample in some for file in files(sample))])
    if not seen.exists():
        refuse_faults(some, fault, "checking images", most)
        with suppress(OSError):  # there may be no place to remember it
            seen.parent.mkdir(parents=True, exist_ok=True)
            seen.touch()


def _listed(file: str) -> tuple[str, int, int]:
    """Return a file's path, size and time of change, as far as there is one."""
    try:
        found = os.stat(file)
    except OSError:
        return file, -1, -1
    return os.path.abspath(file), found.st_size, found.st_mtime_ns


def _remembered(listing: Sequence[object]) -> Path:
    """Return the file that is there if files with this listing were checked."""
    return Path(torch.hub.get_dir()) / "torchdau" / hashlib.sha256(repr(listing).encode()).hexdigest()
