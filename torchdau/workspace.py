"""Memory that algorithms use again from call to call: fresh pages cost a CPU as much time as arithmetic."""

import math
import mmap
import threading
from contextlib import suppress

import torch
from torch import Tensor

LINE = 64
"""Bytes of a cache line."""

HUGE_PAGE = 2 << 20
"""Bytes of a large page on Linux: it causes fewer page faults at first and fewer address translations afterwards."""


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.by_name: dict[tuple[str, torch.dtype], Tensor] = {}
        self.addresses: dict[str, tuple[int, int]] = {}


_buffers = _Buffers()


def _allocate(size: int, like: Tensor) -> Tensor:
    """Return uninitialised memory, in large pages if the system has them."""
    length = size * like.dtype.itemsize
    if length < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return like.new_empty(size)
    pages = mmap.mmap(-1, length + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # Linux may lack large pages
        pages.madvise(mmap.MADV_HUGEPAGE)
    memory = torch.frombuffer(pages, dtype=like.dtype)
    skip = -memory.data_ptr() % HUGE_PAGE // like.dtype.itemsize
    return memory[skip : skip + size]


def workspace(name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return an uninitialised tensor, valid until the same thread asks for the same name; calls do not clear it.

    Args:
        name: purpose of the memory; each name has one user at a time.
        shape: shape of the tensor.
        like: a tensor with the same data type and device.
    """
    if like.device.type != "cpu":  # the allocator of an accelerator reuses memory itself
        return like.new_empty(shape)
    key = name, like.dtype
    size = math.prod(shape)
    if key not in _buffers.by_name or _buffers.by_name[key].numel() < size:
        with torch.inference_mode(False):  # training must be able to reuse it after a call in inference mode
            _buffers.by_name[key] = _allocate(size, like)
    return _buffers.by_name[key][:size].view(shape)


def address(name: str, length: int) -> int:
    """Return the address of uninitialised memory of the CPU, valid like a :func:`workspace` of this name.

    Args:
        name: purpose of the memory.
        length: bytes from the address on, which is the start of a cache line.
    """
    first, held = _buffers.addresses.get(name, (0, -1))
    if held < length:
        memory = workspace(name, (length + LINE,), torch.empty(0, dtype=torch.uint8, device="cpu"))
        first = -(-memory.data_ptr() // LINE) * LINE
        _buffers.addresses[name] = first, length
    return first
