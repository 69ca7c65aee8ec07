"""What is wrong with many files, in one error."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Sample = TypeVar("Sample")

MOST_NAMED = 5
"""Files in one error."""


def refuse_faults(
    samples: Sequence[Sample],
    fault: Callable[[Sample], str | None],
    title: str | None = None,
    most: float = 0.0,
) -> None:
    """Looks at all samples of a set.

    Args:
        samples: what to look at.
        fault: what is wrong with one, if anything; called in several threads, as Pillow decodes without Python's lock.
        title: of a progress bar, for work that takes long.
        most: share of the samples with which something may be wrong.

    Raises:
        ValueError: something is wrong with more of them; the message has the first faults and the number of the others.
    """
    with ThreadPoolExecutor() as pool:
        hidden = title is None or not Console().is_terminal
        work = track(pool.map(fault, samples), title or "", len(samples), transient=True, disable=hidden)
        faults = [found for found in work if found]
    if len(faults) > most * len(samples):
        more = f"\n... and {len(faults) - MOST_NAMED} more." if len(faults) > MOST_NAMED else ""
        raise ValueError("\n".join(faults[:MOST_NAMED]) + more)
