"""What the kernels have in common: blocks, and operands of products in TF32."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def operand(block, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """A block in another type, as the operand of a product.

    Where that is TF32, a float32 is rounded to it: tensor cores would cut it off, which shrinks every product.
    """
    block = block.to(dtype)
    if PRECISION == "tf32" and block.dtype == tl.float32:
        bits = block.to(tl.int32, bitcast=True)
        rounded = ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
        block = tl.where(block == block, rounded, block)
    return block


def rounded(matrix: Tensor, precision: str) -> Tensor:
    """:func:`operand` of a float32 matrix of numbers that are finite."""
    if precision != "tf32" or matrix.dtype != torch.float32:
        return matrix
    return ((matrix.view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


def block(size: int) -> int:
    """Return the smallest power of two that is at least ``size`` and 16, the least that ``tl.dot`` takes."""
    return max(16, triton.next_power_of_2(size))
