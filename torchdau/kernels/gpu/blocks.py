"""What the kernels have in common: products of blocks, waves, and the place of a frequency."""

import triton
import triton.language as tl


@triton.jit
def _nearest(block):
    """Float32 rounded to TF32: tensor cores would cut it off, which shrinks every product."""
    bits = block.to(tl.int32, bitcast=True)
    rounded = ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return tl.where(block == block, rounded, block)


@triton.jit
def dot(a, b, total, PRECISION: tl.constexpr):
    """``total + a @ b`` in float32; PRECISION, of float32 operands, is "tf32" or "tf32x3"."""
    if PRECISION == "tf32" and a.dtype == tl.float32:
        a, b = _nearest(a), _nearest(b)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def waves(table, frequency, position, frequencies, positions, sine: tl.constexpr):
    """Cosines or sines (2, frequencies, positions) at a block of both; zero outside of the table."""
    known = (frequency < frequencies) & (position < positions)
    return tl.load(table + (sine * frequencies + frequency) * positions + position, known, other=0)


@triton.jit(do_not_specialize=["first", "step", "frequencies", "positions", "length"])
def fill_waves(table, first, step, frequencies, positions, length, BLOCK: tl.constexpr):
    """Writes the waves of frequencies 0, 1, ... of a length at positions first, first + step, ..."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    turns = (n // positions) * (first + step * (n % positions)) % length
    angle = turns.to(tl.float64) * 6.283185307179586 / length
    known = n < frequencies * positions
    tl.store(table + n, tl.cos(angle).to(tl.float32), known)
    tl.store(table + frequencies * positions + n, tl.sin(angle).to(tl.float32), known)


@triton.jit
def has_twin(ky, kx, length_y, length_x):
    """Whether (-ky, kx) is another frequency than (ky, kx), and not its mirror image."""
    return (ky > 0) & (2 * ky != length_y) & (kx > 0) & (2 * kx != length_x)
