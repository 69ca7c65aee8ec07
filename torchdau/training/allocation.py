"""Memory of tensors on a CPU."""

import ctypes
import sys

_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
"""Parameters of ``mallopt`` in glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Let the C library keep the memory that tensors free, for those of the next step.

    By default, glibc returns it to Linux, which clears every page of a new tensor: that can take as long as the
    arithmetic of a training step. On other systems, and with other C libraries, nothing changes.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
