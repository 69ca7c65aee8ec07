"""Conversion of the convolutions of a model to unit layers; nothing numeric."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from inspect import signature
from typing import Any

from torch import nn

from torchdau.arguments import check_model, check_option
from torchdau.surgery.candidates import Convolution, Select, convolutions, is_quantized, obstacle_to
from torchdau.surgery.replace import Model, replace_
from torchdau.surgery.units import to_units

INITS = ("uniform", "fit")
OPTIONS = ("learn_sigma", "max_sigma", "interpolation", "displacement_gradient", "algorithm")
STRIDES = ("keep", "max_pool")

OTHERS = (nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Convolutions that no unit layer replaces."""

logger = logging.getLogger("torchdau")


def convert_(
    model: Model,
    num_units: int | None = None,
    *,
    select: Select | None = None,
    init: str = "uniform",
    strides: str = "keep",
    max_displacement: float | None = None,
    sigma: float = 0.5,
    **options: Any,
) -> Model:
    """Replace the convolutions of a model by unit layers of the same output size.

    Without ``select``, this replaces every 2-D convolution whose kernel has at least 6 weights and is larger than its
    stride. Dilated, grouped and depthwise ones are included. ``print(torchdau.convolutions(model))`` lists them
    beforehand, and says why others stay.

    A module in several places is replaced once and stays shared. If padding is not centred, as with even kernels, the
    displacements are shifted instead. The new parameters are trained even if the old ones were frozen. After an error
    the model is unchanged.

    Args:
        model: the model, changed in place.
        num_units: units per filter. Default: 2, as in the paper's residual networks. Kernels larger than 4 x 5 get one
            unit for every 8 weights, at most 16. So 5 x 5 gets 3, and 7 x 7 gets 6.
        select: which convolutions to replace: a predicate of name and module, or one or more shell-style patterns of
            names, of convolutions or of modules that hold some: ``"layer3"``, ``"*.conv2"``. Default: all that can
            become units and gain from it.
        init: ``"uniform"`` places new units at random in the area of the old kernel, 1.5 pixels around the centre for
            3 x 3 (as in the paper). ``"fit"`` takes the units closest to the old kernel, for a trained model. Train it
            on with small steps, ``torchdau.optimizer(..., displacement_lr=0.01)``.
        strides: ``"keep"`` keeps the stride in the layer. ``"max_pool"`` puts a max-pool with the stride before a layer
            of stride 1, as in the paper.
        max_displacement: bound of the displacements in pixels. Default: 4, as in the paper, or the reach of the old
            kernel if larger. With a ``padding_mode`` other than zeros, a layer extends images at least this far; for
            ``"reflect"`` and ``"circular"`` the images must be larger.
        sigma: width of the Gaussians in pixels. Default: 0.5, as in the paper.
        **options: further arguments of :class:`DAUConv2d`: ``learn_sigma``, ``max_sigma``, ``interpolation``,
            ``displacement_gradient``, ``algorithm``.

    Returns:
        ``model``.

    Raises:
        TypeError: an option is not one of these.
        ValueError: there is nothing to convert, or an argument's value does not fit.

    Reference:
        Section 5.2 of the paper, which replaces the 3 x 3 convolutions of a ResNet, and its footnote 4.

    Example:
        >>> model = torchdau.convert_(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU()))
        >>> model[0]
        DAUConv2d(3, 8, num_units=2, stride=(2, 2))
    """
    check_model(model)
    check_option("init", init, INITS)
    check_option("strides", strides, STRIDES)
    if unknown := options.keys() - OPTIONS:
        near = get_close_matches(min(unknown), [*OPTIONS, *signature(convert_).parameters], 1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(OPTIONS)}."
        raise TypeError(
            f"options must be arguments of DAUConv2d that a convolution does not set, got {min(unknown)}. {hint}"
        )
    if isinstance(model, nn.Conv2d):
        raise ValueError("model must contain its convolutions, got a bare Conv2d. Wrap it in nn.Sequential.")
    found = convolutions(model, select, num_units)
    options["sigma"] = sigma
    new: dict[nn.Module, nn.Module] = {}
    reasons = Counter("it is quantized (convert first)" for module in model.modules() if is_quantized(module))
    for convolution in _progress(found) if init == "fit" else found:
        reason = convolution.reason or obstacle_to(convolution.module, init, strides)
        if reason:
            reasons[reason] += 1
        else:
            kind = init, strides, max_displacement, options
            new[convolution.module] = to_units(convolution.module, convolution.num_units, *kind)
    left = "; ".join(f"{count} left: {reason}" for reason, count in reasons.items())
    if not new:
        already = [f"{found.unit_layers} layers already are units"] if found.unit_layers else []
        others = Counter(type(module).__name__ for module in model.modules() if isinstance(module, OTHERS))
        no_units = [f"{count} {kind}, for which there are no units" for kind, count in others.items()]
        what = "; ".join([*filter(None, [left]), *already, *no_units]) or "It has no convolutions at all"
        raise ValueError(f"model must have a convolution to convert, got none. {what}.")
    given = getattr(model, "no_weight_decay", set)  # timm asks models for the names of parameters that must not decay
    spared = set(given() if callable(given) else given)
    replace_(model, new)
    model.no_weight_decay = partial(set, spared | {"*.displacement", "*.sigma"})  # type: ignore[assignment]
    converted = [c.parameters for c in found if c.module in new]
    before, after = (sum(numbers) for numbers in zip(*converted, strict=True))
    counts = len(new), len(found), before, after
    logger.info("converted %d of %d convolutions to units, %d parameters to %d. %s", *counts, left)
    return model


def _progress(convolutions: Sequence[Convolution]) -> Iterable[Convolution]:
    """Show a progress bar on a terminal if tqdm is installed, because many kernels take minutes to fit."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield from convolutions
        return
    numbers = [0 if convolution.reason else convolution.parameters[0] for convolution in convolutions]
    with tqdm(desc="fitting units", total=sum(numbers), leave=False, disable=None, unit_scale=True) as bar:
        for convolution, number in zip(convolutions, numbers, strict=True):
            yield convolution
            bar.update(number)
