"""Memory that the spectral algorithm uses again from call to call: fresh pages cost a CPU as much as arithmetic."""

import math
import threading

import torch
from torch import Tensor


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.by_name: dict[tuple[str, torch.dtype], Tensor] = {}


_buffers = _Buffers()


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
            _buffers.by_name[key] = like.new_empty(size)
    return _buffers.by_name[key][:size].view(shape)
