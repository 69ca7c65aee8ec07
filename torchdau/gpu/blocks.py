"""Launches, blocks, and operands of products in TF32, for all kernels."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_compiled: dict[tuple[Any, ...], Any] = {}
"""Compiled kernels, by the conditions of their compilation and all numbers of the call."""

MOST = 4096
"""Largest number of cached calls."""


def launch(kernel: Any, grid: tuple[int, int, int], *arguments: Any, **constants: int | bool | str) -> None:
    """Launch a kernel like ``kernel[grid](*arguments, **constants)``, which inspects each argument at every call.

    A call with the numbers of an earlier one goes straight to its compiled kernel.
    """
    numbers = [(a.dtype, a.device, a.data_ptr() % 16) if isinstance(a, Tensor) else a for a in arguments]
    key = id(kernel), *numbers, *constants.values()
    compiled = _compiled.get(key)
    if compiled is not None:
        compiled[grid](*arguments, *(constants[name] for name in kernel.arg_names[len(arguments) :]))
        return
    compiled = kernel[grid](*arguments, **constants)
    if compiled is not None:  # Triton's interpreter compiles nothing
        if len(_compiled) >= MOST:
            _compiled.clear()
        _compiled[key] = compiled


@triton.jit
def operand(block, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """Convert a block to another type, as the operand of a product.

    For TF32, a float32 is rounded: tensor cores would truncate it, which shrinks every product.
    """
    block = block.to(dtype)
    if PRECISION == "tf32" and block.dtype == tl.float32:
        bits = block.to(tl.int32, bitcast=True)
        rounded = ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
        block = tl.where(block == block, rounded, block)
    return block


def rounded(matrix: Tensor, precision: str) -> Tensor:
    """Apply :func:`operand` to a float32 matrix of finite numbers."""
    if precision != "tf32" or matrix.dtype != torch.float32:
        return matrix
    return ((matrix.view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


def block(size: int) -> int:
    """Return the smallest power of two that is at least ``size`` and 16, the minimum of ``tl.dot``."""
    return max(16, triton.next_power_of_2(size))
