"""The complex product of matrices of each frequency."""

import torch
from torch import Tensor

from torchdau.workspace import workspace


def product(a: Tensor, b: Tensor, name: str, bias: Tensor | None = None, scale: float = 1) -> Tensor:
    """Compute ``a @ b`` in the workspace of this name, by three real products.

    Args:
        a: complex matrices (2, F, G, M, K), real parts first.
        b: complex matrices (2, F, G, K, N).
        name: name of the workspace.
        bias: (G, N), added times ``scale`` to the real part of every row of the first frequency.
        scale: factor of the bias.

    Returns:
        Tensor of shape (2, F, G, M, N).
    """
    frequencies, groups = a.shape[1:3]
    (a_real, a_imag), (b_real, b_imag) = a.flatten(1, 2), b.flatten(1, 2)
    out = workspace(name, (2, frequencies * groups, a.shape[3], b.shape[4]), a)
    real, imag = out
    torch.bmm(a_real, torch.add(b_real, b_imag, out=_room("factor b", b_real)), out=real)
    torch.baddbmm(real, torch.sub(a_imag, a_real, out=_room("factor a", a_real)), b_real, out=imag)
    real.baddbmm_(torch.add(a_real, a_imag, out=_room("factor a", a_real)), b_imag, alpha=-1)
    if bias is not None:
        real[:groups] += scale * bias[:, None]
    return out.unflatten(1, (frequencies, groups))


def _room(name: str, like: Tensor) -> Tensor:
    """Allocate room for matrices in the memory order of ``like``."""
    if like.stride(-1) == 1:
        return workspace(name, like.shape, like)
    return workspace(name, like.mT.shape, like).mT
