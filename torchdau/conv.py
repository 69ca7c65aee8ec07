"""The unit layer: its parameters, their starting values and bounds; torchdau.functional does the computation."""

import inspect
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from torchdau import init
from torchdau.algorithms import ALGORITHMS
from torchdau.algorithms.dense import draw
from torchdau.arguments import (
    FLOATS,
    check_integer,
    check_number,
    check_option,
    check_sigma,
    is_exporting,
    pair,
    under_transform,
)
from torchdau.bounds import Bounded, bounded
from torchdau.functional import dau_conv2d
from torchdau.habits import explained
from torchdau.padding import extend, layer_padding
from torchdau.profile import (
    DISPLACEMENT_GRADIENTS,
    INTERPOLATIONS,
    MAX_DISPLACEMENT,
    MAX_SIGMA,
    MIN_SIGMA,
    Profile,
)

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

LAYERS: "WeakSet[DAUConv2d]" = WeakSet()
"""All layers: torchdau.optim uses them to tell displacements from the other parameters of an optimizer."""


class DAUConv2d(Bounded):
    r"""A 2-D convolution whose filters are displaced aggregation units, in place of :class:`torch.nn.Conv2d`.

    Every filter is a sum of ``num_units`` Gaussians with learned amplitudes and sub-pixel displacements, so its
    receptive field is learned too. A filter has ``3 * num_units`` parameters however far it reaches.
    :func:`torchdau.dau_conv2d` defines the computation.

    Displacements and a learned sigma are within their bounds after every forward pass in training and in every state
    dict. Loading a state dict that exceeds the bounds is an error. A fixed sigma is not in the state dict.
    Displacements and a learned sigma stay in float32 or better in half precision, because bfloat16 has steps of 0.06 px
    at 8 px.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        num_units: units per pair of input and output channel, the paper's K. Default: 2, as in the paper's residual
            networks, in place of the 9 weights of a 3 x 3 kernel.
        max_displacement: bound of the displacements in pixels. Default: 4, as in the paper; a larger bound costs
            little.
        stride: pixels of the input between two outputs, for both axes or (y, x).
        padding: pixels added around the image: for both axes, (y, x), or ((top, bottom), (left, right)). Default: 0, or
            ``"same"``, which keeps the image size at stride 1, because a unit layer has no kernel size. Negative
            padding removes outputs at the border, but units still read the whole image.
        groups: groups of channels that are convolved separately.
        bias: whether to add a learned bias to the output.
        padding_mode: how the image continues beyond its border, as far as units read: ``"zeros"``, ``"reflect"``,
            ``"replicate"`` or ``"circular"``.
        sigma: width of the Gaussians in pixels, or its starting value if it is learned. Default: 0.5, as in the paper.
        learn_sigma: whether each unit learns its own sigma.
        max_sigma: bound of a learned sigma in pixels; a fixed sigma is its own bound. Default: 1.
        interpolation: ``"bilinear"`` or ``"gaussian"``, as for :func:`torchdau.dau_conv2d`.
        displacement_gradient: ``"smooth"`` or ``"exact"``, as for :func:`torchdau.dau_conv2d`.
        algorithm: ``"auto"``, or the name of an algorithm.
        device: device of the parameters.
        dtype: data type of the weight and the bias.

    Attributes:
        weight: amplitudes, shape (O, I / groups, K). Start: Glorot uniform.
        displacement: positions (y, x) in pixels, shape (O, I / groups, K, 2). Start: uniform in [-1.5, 1.5], as in the
            paper's residual networks, or within a smaller bound; :mod:`torchdau.init` has other placements.
        sigma: a number, or a parameter of shape (O, I / groups, K) if it is learned.
        bias: shape (O,), or None. Start: 0.

    Shape:
        - input: (N, C, H, W) or (C, H, W)
        - output: (N, O, H_out, W_out) or (O, H_out, W_out) with ``H_out = (H + top + bottom - 1) // stride + 1``

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument's value does not fit; the message names the argument and the remedy.

    Reference:
        Tabernik, Kristan, Leonardis, Spatially-Adaptive Filter Units for Compact and Efficient Deep Neural Networks,
        IJCV 2020, section 3.

    Example:
        >>> layer = torchdau.DAUConv2d(16, 32, num_units=2)
        >>> layer(torch.randn(1, 16, 20, 30)).shape
        torch.Size([1, 32, 20, 30])
    """

    bias: nn.Parameter | None

    @explained
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_units: int = 2,
        max_displacement: float = 4.0,
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        sigma: float = 0.5,
        learn_sigma: bool = False,
        max_sigma: float = 1.0,
        interpolation: str = "bilinear",
        displacement_gradient: str = "smooth",
        algorithm: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "num_units": num_units,
            "groups": groups,
        }.items():
            check_integer(name, value, minimum=1)
        for name, value in {"in_channels": in_channels, "out_channels": out_channels}.items():
            if value % groups:
                raise ValueError(f"{name} must be a multiple of groups, got {name}={value} for groups={groups}.")
        check_number("max_displacement", max_displacement, 0, MAX_DISPLACEMENT)
        check_option("padding_mode", padding_mode, PADDING_MODES)
        check_option("interpolation", interpolation, INTERPOLATIONS)
        check_option("displacement_gradient", displacement_gradient, DISPLACEMENT_GRADIENTS)
        check_option("algorithm", algorithm, ("auto", *ALGORITHMS))
        check_sigma(sigma)
        if learn_sigma:
            check_number("max_sigma", max_sigma, MIN_SIGMA, MAX_SIGMA)
            check_number("sigma", sigma, MIN_SIGMA, max_sigma)
        dtype = dtype or torch.get_default_dtype()
        if dtype not in FLOATS:
            raise TypeError(f"dtype must be a real floating-point type, got dtype={dtype}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_units = num_units
        self.max_displacement = float(max_displacement)
        self.stride = pair("stride", stride, minimum=1)
        self.padding = layer_padding(padding, self.stride)
        self.groups = groups
        self.padding_mode = padding_mode
        self.learn_sigma = learn_sigma
        self.max_sigma = float(max_sigma if learn_sigma else sigma)
        self.interpolation = interpolation
        self.displacement_gradient = displacement_gradient
        self.algorithm = algorithm

        shape = out_channels, in_channels // groups, num_units
        precise = torch.promote_types(dtype, torch.float32)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.displacement = nn.Parameter(torch.empty(*shape, 2, device=device, dtype=precise))
        self.sigma = float(sigma)
        if learn_sigma:
            self.sigma = nn.Parameter(torch.full(shape, self.sigma, device=device, dtype=precise))
        self._initial_sigma = float(sigma)
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()
        LAYERS.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        LAYERS.add(self)

    def reset_parameters(self) -> None:
        """Reset all parameters to new starting values."""
        nn.init.xavier_uniform_(self.weight)
        init.uniform_(self.displacement, min(1.5, self.max_displacement))
        if isinstance(self.sigma, Tensor):
            nn.init.constant_(self.sigma, self._initial_sigma)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input``; in training, first clip the parameters to their bounds."""
        if self.training and not under_transform() and not is_exporting():
            self.clip_parameters_()
        padding: Sequence[Any] = self.padding
        if self.padding_mode != "zeros":
            input, padding = extend(input, self.padding_mode, self.padding, self.profile.last)
        weight, displacement, sigma = self.units()
        return dau_conv2d(
            input,
            weight,
            displacement,
            sigma,
            self.bias,
            stride=self.stride,
            padding=padding,
            groups=self.groups,
            max_displacement=self.max_displacement,
            max_sigma=self.max_sigma if self.learn_sigma else None,
            interpolation=self.interpolation,
            displacement_gradient=self.displacement_gradient,
            algorithm=self.algorithm,
        )

    @property
    def profile(self) -> Profile:
        """The form of the units along an axis, and the window of positions that they read."""
        sigma = self.max_sigma if isinstance(self.sigma, Tensor) else self.sigma
        return Profile(self.interpolation, self.displacement_gradient, self.max_displacement, sigma)

    def kernel(self, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """Draw the filters as a dense kernel, in the layout of :class:`torch.nn.Conv2d`.

        Args:
            rows: slice of the positions ``profile.first`` to ``profile.last`` along y, in pixels from an output's own
                position. Default: all.
            columns: slice of these positions along x. Default: all.

        Returns:
            Tensor of shape (O, I / groups, rows, columns); differentiable.
        """
        weight, displacement, sigma = self.units()
        displacement = bounded(displacement, -self.max_displacement, self.max_displacement)
        if isinstance(sigma, Tensor):
            sigma = bounded(sigma, MIN_SIGMA, self.max_sigma)
        else:
            sigma = torch.full((), sigma, dtype=displacement.dtype, device=displacement.device)
        return draw(weight, displacement, sigma, self.profile, rows, columns)

    def units(self) -> tuple[Tensor, Tensor, float | Tensor]:
        """Return weight (O, I / groups, K), displacement (O, I / groups, K, 2) and sigma for :func:`dau_conv2d`."""
        return self.weight, self.displacement, self.sigma

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of :class:`DAUConv2d` that create a layer like this one."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "num_units": self.num_units,
            "max_displacement": self.max_displacement,
            "stride": self.stride,
            "padding": self.padding,
            "groups": self.groups,
            "bias": self.bias is not None,
            "padding_mode": self.padding_mode,
            "sigma": self._initial_sigma if isinstance(self.sigma, Tensor) else self.sigma,
            "learn_sigma": self.learn_sigma,
            "max_sigma": self.max_sigma if self.learn_sigma else 1.0,
            "interpolation": self.interpolation,
            "displacement_gradient": self.displacement_gradient,
            "algorithm": self.algorithm,
            "device": self.weight.device,
            "dtype": self.weight.dtype,
        }

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults, as torch's own layers do."""
        parameters = inspect.signature(DAUConv2d).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        defaults |= {"num_units": None, "stride": (1, 1), "padding": (0, 0), "device": self.weight.device}
        defaults["dtype"] = self.weight.dtype
        arguments = self.arguments()
        first = [str(arguments.pop(name)) for name in ("in_channels", "out_channels")]
        return ", ".join(first + [f"{k}={v!r}" for k, v in arguments.items() if v != defaults[k]])
