"""Arguments of the native kernels of the direct algorithm, ``kernels/direct.h``."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from torchdau.kernels import available, parallel_for
from torchdau.profile import Profile


class _Axis(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("pixels", "outputs", "stride", "padding")]


class Layer(ctypes.Structure):
    """The structure ``TorchdauDirect``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "groups", "inputs", "outputs", "units", "planes")),
        ("y", _Axis),
        ("x", _Axis),
        *((name, ctypes.c_int32) for name in ("bound", "radius", "exact", "threads")),
        ("parallel_for", ctypes.c_void_p),
    ]


def layer_of(
    input: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], groups: int, profile: Profile
) -> Layer:
    """Return the arguments of a layer; ``planes`` is the number of images."""
    n, _, *size = input.shape
    _, _, *outputs = output_shape(input, weight, stride, padding)
    y, x = (_Axis(*axis) for axis in zip(size, outputs, stride, padding, strict=True))
    return Layer(
        images=n,
        groups=groups,
        inputs=weight.shape[1],
        outputs=len(weight) // groups,
        units=weight.shape[2],
        planes=n,
        y=y,
        x=x,
        bound=profile.reach - profile.radius,
        radius=profile.radius,
        exact=profile.displacement_gradient == "exact",
        threads=torch.get_num_threads(),
        parallel_for=parallel_for(),
    )


def output_shape(input: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> list[int]:
    """Return the shape (N, O, H_out, W_out) of the output."""
    axes = zip(input.shape[2:], stride, padding, strict=True)
    return [input.shape[0], weight.shape[0], *((size + 2 * before - 1) // step + 1 for size, step, before in axes)]


def prepared(*tensors: Tensor | None) -> list[Tensor | None]:
    """Return tensors as the kernels read them."""
    return [None if t is None else t.float().contiguous() for t in tensors]


def runs_here(input: Tensor) -> bool:
    """Whether the kernels can compute with an input; an exported graph may run elsewhere."""
    precise = torch.promote_types(input.dtype, torch.float32) != torch.float32
    return input.device.type == "cpu" and not precise and available()
