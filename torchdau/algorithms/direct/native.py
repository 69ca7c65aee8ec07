"""A layer by the native kernels of the direct algorithm: arguments for ``kernels/direct.h``; nothing numeric."""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchdau.algorithms.direct.choice import Shape, backward_kernel, forward_kernel
from torchdau.algorithms.registered import layout
from torchdau.kernels import available, call, parallel_for
from torchdau.profile import Profile

PLANES = 64 << 20
"""Most bytes of blurred images at a time; larger batches are processed in pieces of images."""

IMAGES = 16
"""Number of blurred images among which a kernel addresses pixels by 32-bit numbers."""

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
        kernel: name of the kernel, or None if none can compute the layer.
        input: shape of the images (N, G * I, H, W).
        weight: shape of the amplitudes (G * O, I, K).
        output: shape of the output (N, G * O, H_out, W_out).
        stride: input pixels between two outputs (y, x).
        padding: zeros around the image (y, x); a negative padding crops.
        groups: groups of channels.
        profile: form of the units.
        shared: whether all units have one sigma.
        order: layout in memory of the images for the kernel.
    """

    kernel: str | None
    input: Sequence[int]
    weight: Sequence[int]
    output: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    groups: int
    profile: Profile
    shared: bool
    order: torch.memory_format

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
        room = torch.empty_like if len(input) else torch.zeros_like
        any_unit = any(needed[1:])  # the gradients of units are computed together
        wanted = needed[0], any_unit, any_unit, any_unit and not self.shared
        made = [room(t) if need else None for t, need in zip((image, weight, displacement, sigma), wanted, strict=True)]
        self._call("backward", [image, weight, displacement, sigma, None, self._image(grad), None, *made])
        return [d if need else None for d, need in zip(made, needed, strict=True)]

    def _image(self, tensor: Tensor) -> Tensor:
        return tensor.float().contiguous(memory_format=self.order)

    def _call(self, name: str, tensors: list[Tensor | None]) -> None:
        n, _, *size = self.input
        if not n:
            return
        bound = _bound(self.profile)
        axes = zip(size, self.output[2:], self.stride, self.padding, strict=True)
        plane = 4 * self.input[1] * _plane(self.output, self.stride, self.profile)
        layer = _Layer(
            images=n,
            groups=self.groups,
            inputs=self.weight[1],
            outputs=self.weight[0] // self.groups,
            units=self.weight[2],
            planes=max(1, min(n, PLANES // plane)),
            **{name: _Axis(*axis) for name, axis in zip("yx", axes, strict=True)},
            bound=bound,
            radius=self.profile.radius,
            exact=self.profile.displacement_gradient == "exact",
            gaussian=self.profile.interpolation == "gaussian",
            shared_sigma=self.shared,
            channels_last=self.order == torch.channels_last,
            threads=torch.get_num_threads(),
            parallel_for=parallel_for(),
        )
        call(f"{self.kernel}_{name}", layer, tensors)


def task(
    input: Tensor,
    weight: Tensor,
    output: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    profile: Profile,
    shared: bool,
    backward: bool,
) -> Task:
    """Return a layer by the fastest kernel for a forward or a backward pass."""
    filters, channels, units = weight.shape
    size, steps = (output[2], output[3]), (stride[0], stride[1])
    one = shared and profile.interpolation == "bilinear"
    shape = Shape(len(input), groups, channels, filters // groups, units, size, steps, profile.size, one)
    kernel = backward_kernel(shape) if backward else forward_kernel(shape)
    huge = kernel == "blurred" and _plane(output, stride, profile) * IMAGES >= 1 << 31
    wide = kernel != "separable" and profile.radius > RADIUS
    precise = torch.promote_types(input.dtype, torch.float32) != torch.float32
    elsewhere = input.device.type != "cpu"  # an exported graph may run on any machine
    if elsewhere or precise or huge or wide or not available():
        kernel = None
    order = layout(input) if kernel == "narrow" else torch.contiguous_format
    return Task(kernel, input.shape, weight.shape, output, stride, padding, groups, profile, shared, order)


def _plane(output: Sequence[int], stride: Sequence[int], profile: Profile) -> int:
    """Return the pixels of a blurred image with its margin."""
    rows, columns = ((p - 1) * t + 2 * _bound(profile) + 65 for p, t in zip(output[2:], stride, strict=True))
    return rows * columns


def _bound(profile: Profile) -> int:
    """Return the bound of displacements in whole pixels."""
    return profile.reach - profile.radius


def _plain(units: Sequence[Tensor]) -> list[Tensor]:
    return [t.float().contiguous() for t in units]
