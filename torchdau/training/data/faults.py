"""One error for the faults of many files."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import track

from torchdau import __version__

logger = logging.getLogger("torchdau")

Sample = TypeVar("Sample")

MOST_NAMED = 5
"""Largest number of files named in one error."""


MOST_CHECKED = 20_000
"""Samples whose headers are read before a training, evenly chosen; others are checked when they are read."""


def name_failures(found: Sequence[str], others: int) -> str:
    """Log files that could not be processed, and return a message about all of them.

    Args:
        found: a sentence about each of them, with its name and the reason.
        others: number of files that were processed.
    """
    for sentence in found[:-1]:
        logger.warning(sentence)
    return f"{len(found)} could not be read, {others} others were written. {found[-1]}"


def faults_of(
    samples: Sequence[Sample], fault: Callable[[Sample], str | None], title: str | None = None
) -> list[str | None]:
    """Return the fault of each sample, or None.

    Args:
        samples: samples to check.
        fault: returns the fault of a sample, or None. It runs in several threads, as Pillow decodes without Python's
            lock.
        title: title of a progress bar, for work that takes long. Default: no bar.
    """
    with ThreadPoolExecutor() as pool:
        hidden = title is None or not Console().is_terminal
        work = pool.map(fault, samples)
        return list(track(work, title or "", len(samples), transient=True, disable=hidden))


def refuse_faults(
    samples: Sequence[Sample],
    fault: Callable[[Sample], str | None],
    title: str | None = None,
    most: float = 0.0,
) -> None:
    """Check all samples of a set.

    Args:
        samples: samples to check.
        fault: as in :func:`faults_of`.
        title: as in :func:`faults_of`.
        most: largest share of the samples that may have a fault.

    Raises:
        ValueError: more samples have faults. The message has the first faults and the number of the others.
    """
    faults = [found for found in faults_of(samples, fault, title) if found]
    if len(faults) > most * len(samples):
        more = f"\n... and {len(faults) - MOST_NAMED} more." if len(faults) > MOST_NAMED else ""
        raise ValueError("\n".join(faults[:MOST_NAMED]) + more)


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
        fault: as in :func:`faults_of`.
        most: as in :func:`refuse_faults`.
        kind: name of the check, and the settings it depends on.

    Raises:
        ValueError: as :func:`refuse_faults`.
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
