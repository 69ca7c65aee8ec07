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
``unsuitable`` gives the reason. Its backward pass has a cost of its own, and may be that of ``spectral``.
"""

from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

import torch

from torchdau.algorithms import dense, direct, reference, spectral
from torchdau.algorithms.layer import Layer
from torchdau.kernels import available

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

BACKWARD = 1.9
"""Time of a backward pass in forward passes, for all algorithms except "direct"."""


class Choice(NamedTuple):
    """Names of the algorithms for both passes."""

    forward: str
    backward: str


def choose(layer: Layer, training: bool = False) -> Choice:
    """Return the algorithms with the lowest cost, forward or, in ``training``, with a backward pass."""
    symbols = torch.compiler.is_compiling() or torch._C._is_tracing()
    compare = _cheapest.__wrapped__ if symbols else _cheapest
    return compare(layer, training, available(), spectral.computes_in_bfloat16(layer))


@lru_cache(maxsize=1024)
def _cheapest(layer: Layer, training: bool, _: bool, bfloat16: bool) -> Choice:
    """Compare costs; the last arguments tell whether there are native kernels, and whether they serve bfloat16."""
    (o, i, k), groups, profile = layer.weight, layer.groups, layer.profile
    sizes = layer.input[0], groups, i, o // groups, k, layer.output[2:], layer.stride, profile.size
    kernels, serves, on_gpu = spectral.serves(layer), not direct.unsuitable(layer), layer.device.type == "cuda"
    best, least = "dense", dense.cost(*sizes)
    spectral_cost = spectral.native_cost(*sizes, bfloat16) if kernels else spectral.cost(*sizes)
    if on_gpu:
        spectral_cost *= ON_GPU[kernels]
    if spectral_cost <= least:  # torch.compile cannot trace min(key=) for dynamic sizes
        best, least = "spectral", spectral_cost
    if serves and on_gpu and (groups > 1 or i == 1):
        best = "direct"
    if not serves or on_gpu:
        return Choice(best, best)
    shared = layer.shared and profile.interpolation == "bilinear"
    forward = direct.cost(*sizes, shared)
    if not training:
        return Choice("direct", "direct") if forward < least else Choice(best, best)
    own, other = direct.backward_cost(*sizes, shared), BACKWARD * spectral_cost
    if forward + min(own, other) >= (1 + BACKWARD) * least:
        return Choice(best, best)
    return Choice("direct", "spectral" if other < own else "direct")
