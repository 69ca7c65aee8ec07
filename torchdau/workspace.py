"""Memory that algorithms use again from call to call: fresh pages cost a CPU as much as arithmetic."""

import math
import mmap
import threading
from contextlib import suppress

import torch
from torch import Tensor

HUGE_PAGE = 2 << 20
"""Bytes of a large page on Linux: fewer faults when it is first touched, fewer addresses to translate afterwards."""


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.by_name: dict[tuple[str, torch.dtype], Tensor] = {}


_buffers = _Buffers()


def _allocate(size: int, like: Tensor) -> Tensor:
    """Uninitialised memory, in large pages where the system has them."""
    length = size * like.dtype.itemsize
    if length < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return like.new_empty(size)
    pages = mmap.mmap(-1, length + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without large pages
        pages.madvise(mmap.MADV_HUGEPAGE)
    memory = torch.frombuffer(pages, dtype=like.dtype)
    skip = -memory.data_ptr() % HUGE_PAGE // like.dtype.itemsize
    return memory[skip : skip + size]


def workspace(name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An uninitialised tensor, valid until the same thread asks for the same name; not cleared when a call ends.

    Args:
        name: what the memory is for; one name, one user at a time.
        shape: shape of the tensor.
        like: a tensor with its data type and device.
    """
    if like.device.type != "cpu":  # an accelerator's own allocator keeps memory for reuse
        return like.new_empty(shape)
    key = name, like.dtype
    size = math.prod(shape)
    if key not in _buffers.by_name or _buffers.by_name[key].numel() < size:
        with torch.inference_mode(False):  # memory that a call in inference mode leaves must serve training as well
            _buffers.by_name[key] = _allocate(size, like)
    return _buffers.by_name[key][:size].view(shape)
