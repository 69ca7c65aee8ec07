"""One error for the faults of many files."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import track

logger = logging.getLogger("torchdau")

Sample = TypeVar("Sample")

MOST_NAMED = 5
"""Largest number of files named in one error."""


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
