"""The spectral algorithm by the native kernels: arguments for ``kernels/spectral.cpp``; nothing numeric."""

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torchdau.algorithms.layer import Layer
from torchdau.algorithms.registered import layout
from torchdau.algorithms.spectral.planning import KERNELS, SPECTRA, narrow, plan
from torchdau.algorithms.spectral.task import Tensors
from torchdau.algorithms.spectral.tiling import Axis
from torchdau.kernels import call, parallel_for

TABLES = 16 << 20
"""Most bytes of tables of units; larger layers are processed in pieces of channels."""


class _Axis(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("length", "tiles")),
        *((f"input_{name}", ctypes.c_int32) for name in ("pixels", "start", "size", "step")),
        *((name, ctypes.c_int32) for name in ("output_pixels", "output_size", "stride")),
        ("shift", ctypes.c_double),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "groups", "inputs", "outputs", "units", "rows", "table_size")),
        ("y", _Axis),
        ("x", _Axis),
        *((name, ctypes.c_int32) for name in ("gaussian", "exact", "first", "last", "radius")),
        *((name, ctypes.c_int32) for name in ("shared_sigma", "threads", "channels_last")),
        ("parallel_for", ctypes.c_void_p),
    ]


def fits(layer: Layer) -> bool:
    """Return whether the kernels are for the layer: on a CPU, up to float32, and not few channels in many groups."""
    precise = torch.promote_types(layer.dtype, torch.float32) != torch.float32
    return layer.device.type == "cpu" and not precise and not narrow(layer.input, layer.weight)


class Task:
    """A layer by the kernels; see :class:`torchdau.algorithms.spectral.task.Task`.

    Args:
        layer: the layer.
        bfloat16: whether to compute in bfloat16, and not in float32.
    """

    kept: tuple[int, ...] = (0,)

    def __init__(self, layer: Layer, bfloat16: bool) -> None:
        self.dtype, self.suffix = (torch.bfloat16, "_bfloat16") if bfloat16 else (torch.float32, "")
        (n, channels, *size), (o, i, k), stride, padding, groups, profile, *_ = layer
        axes = tuple(zip(size, stride, padding, strict=True))
        self.output_shape = layer.output
        y, x = plan(n, groups, i, o // groups, k, axes, profile.first, profile.last, rates=KERNELS)
        self.whole = y.inputs.count * x.inputs.count == 1  # each pixel belongs to one tile, and is written once
        self.layer = _Layer(
            images=n,
            groups=groups,
            inputs=i,
            outputs=o // groups,
            units=k,
            table_size=TABLES // 4,
            y=_axis(y, size[0], self.output_shape[2], bfloat16),
            x=_axis(x, size[1], self.output_shape[3], bfloat16),
            gaussian=profile.interpolation == "gaussian",
            exact=profile.displacement_gradient == "exact",
            first=profile.first,
            last=profile.last,
            radius=profile.radius,
            parallel_for=parallel_for(),
        )
        numbers = 2 * y.length * (x.length // 2 + 1) * (channels + o) * x.inputs.count  # in one row of tiles
        rows = n * y.inputs.count
        room = SPECTRA // 4 + 2 * (math.prod(layer.input) + math.prod(self.output_shape))
        pieces = -(-rows // max(1, room // numbers))
        self.layer.rows = -(-rows // pieces)

    def forward(self, tensors: Tensors, kept: Tensor) -> Tensor:
        """Return the output; no spectra are kept."""
        order = layout(tensors.input)
        output = torch.empty(self.output_shape, dtype=self.dtype, device="cpu", memory_format=order)
        self._call("spectral_forward", tensors, [*self._prepared(tensors), None, output, *[None] * 5])
        return output.to(tensors.input.dtype)

    def backward(self, tensors: Tensors, grad: Tensor, needed: Sequence[bool], kept: Tensor) -> list[Tensor | None]:
        """Return gradients of input, weight, displacement, sigma and bias; None for one that is not ``needed``."""
        image, weight, displacement, _, bias = prepared = self._prepared(tensors)
        like = image, weight, displacement, weight, bias  # a sigma for each unit, summed if they share it
        totals = [
            None if t is None or not need else torch.empty_like(t) if t is image and self.whole else torch.zeros_like(t)
            for t, need in zip(like, needed, strict=True)
        ]
        grad = grad.to(self.dtype).contiguous(memory_format=layout(tensors.input))
        self._call("spectral_backward", tensors, [*prepared, grad, None, *totals])
        return [
            None if total is None or t is None else total.to(t.dtype).sum_to_size(t.shape)
            for total, t in zip(totals, tensors, strict=True)
        ]

    def _call(self, name: str, tensors: Tensors, arguments: list[Tensor | None]) -> None:
        layer = _Layer.from_buffer_copy(self.layer)  # other threads may need other numbers
        layer.shared_sigma, layer.threads = tensors.sigma.ndim == 0, torch.get_num_threads()
        layer.channels_last = layout(tensors.input) == torch.channels_last
        call(name + self.suffix, layer, arguments)

    def _prepared(self, tensors: Tensors) -> list[Tensor | None]:
        """Return the tensors as the kernels read them: images in their layout, the others contiguous in float32."""
        image, *others = tensors
        image = image.to(self.dtype).contiguous(memory_format=layout(image))
        return [image, *(None if t is None else t.float().contiguous() for t in others)]


def _axis(axis: Axis, pixels: int, outputs: int, bfloat16: bool) -> _Axis:
    # In float32, for an even length, a tile with a pixel in its middle is transformed in half the time. An extra pixel
    # beyond the image provides one: it is zero in the input, and not written in the output.
    more = int(not bfloat16 and axis.inputs.count == 1 and axis.length % 2 == 0)
    input_size, output_size = (size | more for size in (axis.inputs.size, axis.outputs.size))
    stride = axis.outputs.positions.step
    middle = axis.outputs.positions[0] + stride * (output_size - 1) / 2
    return _Axis(
        length=axis.length,
        tiles=axis.inputs.count,
        input_pixels=pixels,
        input_start=axis.inputs.start,
        input_size=input_size,
        input_step=axis.inputs.step,
        output_pixels=outputs,
        output_size=output_size,
        stride=stride,
        shift=middle - (input_size - 1) / 2,
    )
