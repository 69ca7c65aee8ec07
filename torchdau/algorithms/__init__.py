"""The ways to compute the operator, and the choice between them; nothing numeric.

Every algorithm is a module with a function ``dau_conv2d(input, weight, displacement, sigma, bias, *, stride, padding,
groups, profile)`` of one meaning, that of docs/operator.md: ``input`` (N, G * I, H, W), ``weight`` (G * O, I, K),
``displacement`` (G * O, I, K, 2) in pixels, within ``profile.max_displacement`` or NaN; ``sigma`` of shape () or
(G * O, I, K) within ``profile.max_sigma``; ``bias`` (G * O,) or None; ``stride`` and ``padding`` per axis (y, x), where
a negative padding crops. The output has the type and device of the input. An algorithm that "auto" may choose also has
``cost``: its time, in multiply-adds of a large matrix product, as a function of shapes alone. ``direct`` serves some
layers only, and has ``unsuitable``, which says why; its backward pass has a cost of its own.
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
"""By name, in the order in which they came: the definition first."""

ON_GPU = {True: 4, False: 25}
"""How much more a multiply-add of "spectral" costs on a GPU beside one of "dense", by its kernels and without them.

From training steps on an H100 of layers with few channels in a group, where the two are closest (docs/gpu.md).
"""

TRAINING = 3.2
"""Time of a training step in forward passes, of all algorithms but "direct"."""


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
    """The name of the algorithm with the least cost.

    Args:
        input: images (N, C, H, W); only its shape, type and device count, as for the other tensors.
        weight: amplitudes (O, I, K).
        sigma: a scalar, or one for each unit.
        size: output pixels (y, x).
        stride: input pixels between two outputs (y, x).
        groups: groups of channels.
        profile: the form of the units.
        training: whether there will be a backward pass.
    """
    o, i, k = weight.shape
    layer = input.shape[0], groups, i, o // groups, k, size, stride, profile.size
    kernels = spectral.serves(input, weight, stride, profile)
    serves = direct.unsuitable(input, weight, sigma, profile) is None
    compare = _cheapest.__wrapped__ if torch.compiler.is_compiling() else _cheapest  # sizes may be symbols
    shared = sigma.ndim == 0 and profile.interpolation == "bilinear"
    return compare(layer, input.device.type, kernels, serves, training, shared)


_Size = tuple[int, int, int, int, int, tuple[int, int], tuple[int, int], int]  # what costs are functions of


@lru_cache(maxsize=1024)
def _cheapest(layer: _Size, device: str, kernels: bool, serves: bool, training: bool, shared: bool) -> str:
    """Compare the costs of a layer; ``kernels`` are for "spectral", and "direct" ``serves``."""
    _, groups, i, *_ = layer
    best, least = "dense", dense.cost(*layer)
    spectral_cost = spectral.native_cost(*layer) if kernels else spectral.cost(*layer)
    if device == "cuda":
        spectral_cost *= ON_GPU[kernels]
    if spectral_cost <= least:  # no min(key=), which torch.compile cannot trace for sizes that change
        best, least = "spectral", spectral_cost
    if serves and device == "cuda":
        return "direct" if groups > 1 or i == 1 else best
    least *= TRAINING if training else 1
    return "direct" if serves and direct.cost(*layer, training, shared) < least else best
