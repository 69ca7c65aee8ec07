"""One layer by the Triton kernels: tiles and launches."""

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from torchdau.algorithms.direct.triton.kernels import _filtered, _unit_gradients
from torchdau.algorithms.layer import Layer
from torchdau.gpu import tf32_allowed
from torchdau.gpu.blocks import block, launch

LONGEST = 64
"""Side of the largest tile in pixels; half of it for exact products or a sigma per unit, which need more registers."""


class Task:
    """Tiles of a layer of the bilinear form, and their launches."""

    def __init__(self, layer: Layer) -> None:
        o, i, self._units = layer.weight
        self._input, self._output = layer.input, layer.output
        self._stride, self._padding = layer.stride, layer.padding
        self._groups, self._channels, self._profile = layer.groups, (o // layer.groups, i), layer.profile
        exactly = layer.dtype == torch.float32 and not tf32_allowed()
        self._precision = "tf32x3" if exactly else "tf32"
        self._longest = LONGEST if layer.shared and not exactly else LONGEST // 2

    def forward(self, input: Tensor, units: Sequence[Tensor], bias: Tensor | None) -> Tensor:
        """Return the output for ``input`` and ``units``: weight, displacement and sigma."""
        outputs, inputs = self._channels
        output = input.new_empty(self._output)
        before = [-pixels for pixels in self._padding]
        steps = (outputs, inputs), (inputs, 1)
        self._filter(input, _plain(units), bias, output, *steps, 1, (1, 1), self._stride, before)
        return output

    def backward(
        self, grad: Tensor, input: Tensor, units: Sequence[Tensor], needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Return the gradients of input, weight, displacement and sigma, None for one that is not needed."""
        units = _plain(units)
        d_input = self._input_gradient(grad, units) if needed[0] else None
        return d_input, *(self._unit_gradients(grad, input, units, needed[3]) if any(needed[1:]) else (None,) * 3)

    def _input_gradient(self, grad: Tensor, units: Sequence[Tensor]) -> Tensor:
        outputs, inputs = self._channels
        d_input = grad.new_empty(self._input)
        steps = (inputs, outputs), (1, inputs)
        self._filter(grad, units, None, d_input, *steps, -1, self._stride, (1, 1), self._padding)
        return d_input

    def _unit_gradients(
        self, grad: Tensor, input: Tensor, units: Sequence[Tensor], sigma_needed: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        weight, displacement, sigma = units
        outputs, inputs = self._channels
        tiles, sizes = self._tiles(self._output[2:], self._stride)
        each = 4 if sigma_needed else 3
        sums = grad.new_empty(len(input) * tiles, each, weight.numel(), dtype=torch.float32)
        launch(
            _unit_gradients,
            (len(input) * len(weight) * tiles, 1, 1),
            *(grad.contiguous(), input.contiguous(), weight, displacement, sigma, sums),
            *(self._groups, outputs, inputs, self._units, inputs, 1),
            *(*input.shape[2:], *self._output[2:], *(-pixels for pixels in self._padding)),
            STEP_Y=self._stride[0],
            STEP_X=self._stride[1],
            SHARED=sigma.ndim == 0,
            EXACT=self._profile.displacement_gradient == "exact",
            SIGMA=sigma_needed,
            **sizes,
        )
        d_sigma = None
        if sigma_needed:
            d_sigma = sums[:, 3].sum(0).view_as(sigma) if sigma.ndim else sums[:, 3].sum()
        return sums[:, 0].sum(0).view_as(weight), sums[:, 1:3].sum(0).view_as(displacement), d_sigma

    def _filter(
        self,
        image: Tensor,
        units: Sequence[Tensor],
        bias: Tensor | None,
        output: Tensor,
        channels: tuple[int, int],
        steps: tuple[int, int],
        sign: int,
        up: Sequence[int],
        stride: Sequence[int],
        origin: Sequence[int],
    ) -> None:
        tiles, sizes = self._tiles(output.shape[2:], stride)
        weight, displacement, sigma = units
        launch(
            _filtered,
            (output.shape[0] * output.shape[1] * tiles, 1, 1),
            *(image.contiguous(), weight, displacement, sigma, sigma if bias is None else bias.contiguous(), output),
            *(self._groups, *channels, self._units, *steps),
            *(*image.shape[2:], *output.shape[2:], *origin),
            SIGN=sign,
            UP_Y=up[0],
            UP_X=up[1],
            STEP_Y=stride[0],
            STEP_X=stride[1],
            SHARED=sigma.ndim == 0,
            BIAS=bias is not None,
            **sizes,
        )

    def _tiles(self, outputs: Sequence[int], stride: Sequence[int]) -> tuple[int, dict[str, int | str]]:
        """Return the number of tiles of a plane, and their sizes."""
        around = 2 * self._profile.radius + 1
        axes = list(zip(outputs, stride, strict=True))
        side = min(self._longest, block(max((size - 1) * step + around for size, step in axes)))
        each = [(side - around) // step + 1 for step in stride]
        tiles = [triton.cdiv(size, most) for size, most in zip(outputs, each, strict=True)]
        return tiles[0] * tiles[1], {
            "RADIUS": self._profile.radius,
            "EACH_Y": each[0],
            "EACH_X": each[1],
            "ROWS": block(each[0]),
            "COLUMNS": block(each[1]),
            "SIDE": side,
            "PRECISION": self._precision,
            "num_warps": {16: 1, 32: 4, 64: 8}[side],
        }


def _plain(units: Sequence[Tensor]) -> list[Tensor]:
    """Return weight, displacement and sigma as the kernels read them."""
    return [t.float().contiguous() for t in units]
