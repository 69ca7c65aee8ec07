"""A layer by the native kernels of the direct algorithm: arguments for ``kernels/direct.h``; nothing numeric."""

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from torchdau.algorithms.direct.choice import Pair, Shape, backward_kernel, forward_kernel
from torchdau.algorithms.layer import Layer
from torchdau.kernels import available, call, parallel_for
from torchdau.profile import Profile

PLANES = 64 << 20
"""Most bytes of blurred images at a time; larger batches are processed in pieces of images."""

IMAGES = 16
"""Number of blurred images among which a kernel addresses pixels by 32-bit numbers."""

IN_ANY_ORDER = "narrow", "lanes"
"""Kernels that read and write channels_last, too; for the others images are converted."""

RADIUS = 40
"""Largest radius in pixels of a Gaussian that all units share: ``LARGEST_RADIUS`` of ``kernels/gaussian.h``."""


class _Axis(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("pixels", "outputs", "stride", "padding")]


class _Layer(ctypes.Structure):
    """The C structure ``TorchdauDirect``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "groups", "inputs", "outputs", "units", "planes")),
        ("y", _Axis),
        ("x", _Axis),
        *((name, ctypes.c_int32) for name in ("bound", "radius", "exact", "gaussian", "shared_sigma")),
        *((name, ctypes.c_int32) for name in ("channels_last", "threads")),
        ("parallel_for", ctypes.c_void_p),
    ]


class Task(NamedTuple):
    """A layer and the kernel that computes it.

    Attributes:
        kernel: name of the kernel.
        output: shape of the output (N, G * O, H_out, W_out).
        shared: whether all units have one sigma.
        order: layout in memory of the images for the kernel.
        arguments: the layer for the kernel, but for the number of threads.
    """

    kernel: str
    output: tuple[int, int, int, int]
    shared: bool
    order: torch.memory_format
    arguments: _Layer

    def forward(self, input: Tensor, units: Sequence[Tensor], bias: Tensor | None) -> Tensor:
        """Return the output for ``input`` and ``units``: weight, displacement and sigma."""
        output = torch.empty(self.output, dtype=torch.float32, device="cpu", memory_format=self.order)
        constant = None if bias is None else bias.float().contiguous()
        self._call("forward", [self._image(input), *_plain(units), constant, None, output, *[None] * 4])
        return output.to(input.dtype)

    def backward(
        self, grad: Tensor, input: Tensor, units: Sequence[Tensor], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """Return the gradients of input, weight, displacement and sigma in float32, None for one that is not needed.

        The gradient of sigma is per unit; it is None if all units share one sigma.
        """
        image, (weight, displacement, sigma) = self._image(input), _plain(units)
        room = torch.empty_like if self.output[0] else torch.zeros_like
        any_unit = any(needed[1:])  # the gradients of units are computed together
        wanted = needed[0], any_unit, any_unit, any_unit and not self.shared
        made = [room(t) if need else None for t, need in zip((image, weight, displacement, sigma), wanted, strict=True)]
        self._call("backward", [image, weight, displacement, sigma, None, self._image(grad), None, *made])
        return [d if need else None for d, need in zip(made, needed, strict=True)]

    def _image(self, tensor: Tensor) -> Tensor:
        return tensor.float().contiguous(memory_format=self.order)

    def _call(self, name: str, tensors: list[Tensor | None]) -> None:
        if not self.output[0]:
            return
        arguments = _Layer.from_buffer_copy(self.arguments)  # other Python threads may have other numbers
        arguments.threads = torch.get_num_threads()
        call(f"{self.kernel}_{name}", arguments, tensors)


def task(layer: Layer, order: torch.memory_format, backward: bool) -> Task | None:
    """Return a layer by the fastest kernel for a forward or a backward pass, or None if no kernel can compute it.

    Args:
        layer: shapes, type and device.
        order: layout in memory of the images.
        backward: whether it is the backward pass.
    """
    return _task(layer, order, backward, available())


@lru_cache(maxsize=1024)
def _task(layer: Layer, order: torch.memory_format, backward: bool, kernels: bool) -> Task | None:
    precise = torch.promote_types(layer.dtype, torch.float32) != torch.float32
    elsewhere = layer.device.type != "cpu"  # an exported graph may run on any machine
    if elsewhere or precise or not kernels:
        return None
    (n, _, high, wide), (filters, channels, units), stride, padding, groups, profile, _, _, shared = layer
    size = layer.output[2:]
    one = shared and profile.interpolation == "bilinear"
    channels_last = order == torch.channels_last
    shape = Shape(n, groups, channels, filters // groups, units, size, stride, profile.size, one, channels_last)
    kernel = backward_kernel(shape) if backward else forward_kernel(shape)
    plane = _plane(size, stride, profile)
    if kernel is None or (kernel == "blurred" and plane * IMAGES >= 1 << 31):
        return None
    if kernel != "separable" and profile.radius > RADIUS:
        return None
    if kernel not in IN_ANY_ORDER:
        order = torch.contiguous_format
    arguments = _Layer(
        images=n,
        groups=groups,
        inputs=channels,
        outputs=filters // groups,
        units=units,
        planes=max(1, min(n, PLANES // (4 * groups * channels * plane))),
        y=_Axis(high, size[0], stride[0], padding[0]),
        x=_Axis(wide, size[1], stride[1], padding[1]),
        bound=_bound(profile),
        radius=profile.radius,
        exact=profile.displacement_gradient == "exact",
        gaussian=profile.interpolation == "gaussian",
        shared_sigma=shared,
        channels_last=order == torch.channels_last,
        parallel_for=parallel_for(),
    )
    return Task(kernel, layer.output, shared, order, arguments)


def _plane(size: Pair, stride: Pair, profile: Profile) -> int:
    """Return the pixels of a blurred image with its margin."""
    rows, columns = ((p - 1) * t + 2 * _bound(profile) + 65 for p, t in zip(size, stride, strict=True))
    return rows * columns


def _bound(profile: Profile) -> int:
    """Return the bound of displacements in whole pixels."""
    return profile.reach - profile.radius


def _plain(units: Sequence[Tensor]) -> list[Tensor]:
    return [t.float().contiguous() for t in units]
