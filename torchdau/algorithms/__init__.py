"""The ways to compute the operator, and the choice between them; nothing numeric.

Every algorithm is a module with a function ``dau_conv2d(input, weight, displacement, sigma, bias, *, stride, padding,
groups, profile)``. All compute the operator of docs/operator.md, from these arguments:

- ``input``: images (N, G * I, H, W).
- ``weight``: amplitudes (G * O, I, K).
- ``displacement``: (G * O, I, K, 2) in pixels, within ``profile.max_displacement`` or NaN.
- ``sigma``: shape () or (G * O, I, K), within ``profile.max_sigma``.
- ``bias``: (G * O,) or None.
- ``stride``, ``padding``: per axis (y, x); a negative padding crops.

The output has the type and device of the input. An algorithm that "auto" may choose also has ``cost``: its time as a
function of shapes alone, in multiply-adds of a large matrix product. ``direct`` supports only some layers. Its function
``unsuitable`` gives the reason, and its backward pass has a cost of its own.
"""

from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor

from torchdau.algorithms import dense, direct, reference, spectral
from torchdau.profile import Profile

ALGORITHMS: dict[str, ModuleType] = {
    "reference": reference,
    "dense": dense,
    "spectral": spectral,
    "direct": direct,
}
"""Algorithms by name, the definition first."""

ON_GPU = {True: 4, False: 25}
"""Cost of a multiply-add of "spectral" relative to "dense" on a GPU, with its kernels (True) and without (False).

Measured in training steps on an H100, with few channels in a group: there the two are closest (docs/gpu.md).
"""

TRAINING = 3.2
"""Time of a training step in forward passes, for all algorithms except "direct"."""


def choose(
    input: Tensor,
    weight: Tensor,
    sigma: Tensor,
    size: tuple[int, int],
    stride: tuple[int, int],
    groups: int,
    profile: Profile,
    training: bool = False,
) -> str:
    """Return the name of the algorithm with the lowest cost.

    Args:
        input: images (N, C, H, W); only shape, type and device count, as for the other tensors.
        weight: amplitudes (O, I, K).
        sigma: a scalar, or one number for each unit.
        size: output pixels (y, x).
        stride: input pixels between two outputs (y, x).
        groups: groups of channels.
        profile: form of the units.
        training: whether there will be a backward pass.
    """
    o, i, k = weight.shape
    layer = input.shape[0], groups, i, o // groups, k, size, stride, profile.size
    kernels = spectral.serves(input, weight, stride, profile)
    serves = direct.unsuitable(input, weight, sigma, profile) is None
    compare = _cheapest.__wrapped__ if torch.compiler.is_compiling() else _cheapest  # sizes may be symbols
    shared = sigma.ndim == 0 and profile.interpolation == "bilinear"
    return compare(layer, input.device.type, kernels, serves, training, shared)


_Size = tuple[int, int, int, int, int, tuple[int, int], tuple[int, int], int]  # the arguments of cost functions


@lru_cache(maxsize=1024)
def _cheapest(layer: _Size, device: str, kernels: bool, serves: bool, training: bool, shared: bool) -> str:
    """Compare costs: "spectral" may have ``kernels`` for the layer, and "direct" may support it (``serves``)."""
    _, groups, i, *_ = layer
    best, least = "dense", dense.cost(*layer)
    spectral_cost = spectral.native_cost(*layer) if kernels else spectral.cost(*layer)
    if device == "cuda":
        spectral_cost *= ON_GPU[kernels]
    if spectral_cost <= least:  # torch.compile cannot trace min(key=) for dynamic sizes
        best, least = "spectral", spectral_cost
    if serves and device == "cuda":
        return "direct" if groups > 1 or i == 1 else best
    least *= TRAINING if training else 1
    return "direct" if serves and direct.cost(*layer, training, shared) < least else best
