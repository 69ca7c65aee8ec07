"""The complex product of matrices of each frequency."""

import triton
import triton.language as tl
from torch import Tensor

from torchdau.gpu.blocks import block, launch, operand


@triton.jit(do_not_specialize=["bias_group", "bias_n", "scale", "groups"])
def _product(
    a, b, out, bias, bias_group, bias_n, scale, groups, m, n, k,
    a_part, a_frequency, a_group, a_m, a_k, b_part, b_frequency, b_group, b_k, b_n,
    out_part, out_frequency, out_group, out_m,
    BIAS: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Compute blocks of the matrix ``out``, one per program, by frequencies and groups."""
    dtype: tl.constexpr = out.dtype.element_ty
    blocks_m, blocks_n = tl.cdiv(m, M), tl.cdiv(n, N)
    block, matrix = tl.program_id(0) % (blocks_m * blocks_n), tl.program_id(0) // (blocks_m * blocks_n)
    frequency, group = matrix // groups, matrix % groups
    rows = block // blocks_n * M + tl.arange(0, M)
    columns = block % blocks_n * N + tl.arange(0, N)
    depth = tl.arange(0, K)
    step = tl.full((), K, tl.int64)
    a += frequency.to(tl.int64) * a_frequency + group * a_group
    b += frequency.to(tl.int64) * b_frequency + group * b_group
    a += rows[:, None].to(tl.int64) * a_m + depth[None].to(tl.int64) * a_k
    b += depth[:, None].to(tl.int64) * b_k + columns[None] * b_n
    real_real = tl.zeros((M, N), tl.float32)
    imag_imag = tl.zeros((M, N), tl.float32)
    mixed = tl.zeros((M, N), tl.float32)
    for start in range(0, k, K):
        known_a = (rows < m)[:, None] & (start + depth < k)[None]
        known_b = (start + depth < k)[:, None] & (columns < n)[None]
        a_real = tl.load(a, known_a, other=0)
        b_real = tl.load(b, known_b, other=0)
        a_imag = tl.load(a + a_part, known_a, other=0)
        b_imag = tl.load(b + b_part, known_b, other=0)
        real_real = tl.dot(a_real, b_real, real_real, input_precision=PRECISION)
        imag_imag = tl.dot(a_imag, b_imag, imag_imag, input_precision=PRECISION)
        mixed = tl.dot(a_real, b_imag, mixed, input_precision=PRECISION)
        mixed = tl.dot(a_imag, b_real, mixed, input_precision=PRECISION)
        a += step * a_k
        b += step * b_k
    real = real_real - imag_imag
    known = (rows < m)[:, None] & (columns < n)[None]
    if BIAS:
        if frequency == 0:
            constant = (
                tl.load(bias + group * bias_group + columns * bias_n, columns < n, other=0).to(tl.float32) * scale
            )
            real += constant[None]
    out += frequency.to(tl.int64) * out_frequency + group * out_group
    out += rows[:, None].to(tl.int64) * out_m + columns[None]
    tl.store(out, operand(real, dtype, PRECISION), known)
    tl.store(out + out_part, operand(mixed, dtype, PRECISION), known)


def product(a: Tensor, b: Tensor, precision: str, bias: Tensor | None = None, scale: float = 1) -> Tensor:
    """Compute ``a @ b``; see :func:`torchdau.algorithms.spectral.products.product`.

    Args:
        a: complex matrices (2, F, G, M, K).
        b: complex matrices (2, F, G, K, N).
        precision: precision of float32 products, "tf32" or "tf32x3"; operands of the former are rounded to it.
        bias: (G, N), added times ``scale`` to the real part of every row of the first frequency.
        scale: factor of the bias.

    Returns:
        View (2, F, G, M, N) of the tensor (M, F, 2, G, N).
    """
    _, frequencies, groups, m, k = a.shape
    n = b.shape[4]
    out = a.new_empty(m, frequencies, 2, groups, n).permute(2, 1, 3, 0, 4)
    wide, turned = a.dtype.itemsize > 2, a.stride(4) != 1
    rows, columns = (64, 32) if precision == "tf32x3" else (128, 64)
    rows, columns = min(rows, block(m)), min(columns, block(n))
    strides = *a.stride(), *b.stride(), *out.stride()[:4]
    constant = bias, *(bias.stride() if bias is not None else (0, 0)), scale
    programs = -(-m // rows) * -(-n // columns) * frequencies * groups
    launch(
        _product, (programs, 1, 1), a, b, out, *constant, groups, m, n, k, *strides,
        BIAS=bias is not None, PRECISION=precision, M=rows, N=columns, K=32,
        num_warps=8 if wide or turned else 4, num_stages=2 if wide else 3,
    )  # fmt: skip
    return out
