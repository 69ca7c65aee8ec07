"""The convolutions of a model: candidates for units, obstacles for the others, and costs."""

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import is_parametrized

from torchdau.arguments import FLOATS, check_integer, check_model
from torchdau.conv import DAUConv2d
from torchdau.surgery.replace import has_hooks
from torchdau.surgery.timing import Times, step_times
from torchdau.surgery.units import SAME, geometry

Select = str | Sequence[str] | Callable[[str, nn.Module], bool]

STANDARDISED = ("StdConv2d", "ScaledStdConv2d", "StdConv2dSame", "ScaledStdConv2dSame")
"""Classes of timm that normalise their weight before they use it."""


TAPS = 8
"""Weights of a large kernel that one unit replaces by default: 6 units for 7 x 7."""

MOST_UNITS = 16
"""Most units per filter that replace a kernel by default."""

LEGEND = "ms: a training step of the layer, in its faster memory layout; ~: times differ by over 10 %"

IS_1_X_1 = "its kernel is 1 x 1"

UNIT = 3
"""Parameters of a unit: its weight and its displacements along y and x."""


class Convolution(NamedTuple):
    """A 2-D convolution of a model.

    Attributes:
        names: names in the model; a shared convolution has more than one.
        module: the module.
        reason: why it cannot become units, or was not selected; empty if it can.
        num_units: units per filter that replace it; 0 if it stays.
        times: times of a training step in the layer; None if not measured.
    """

    names: tuple[str, ...]
    module: nn.Conv2d
    reason: str
    num_units: int
    times: Times | None = None

    @property
    def parameters(self) -> tuple[int, int]:
        """Numbers of parameters in the kernels, before and after the conversion."""
        kernels = self.module.weight
        before = 0 if isinstance(kernels, UninitializedParameter) else kernels.numel()
        pairs = self.module.out_channels * self.module.in_channels // self.module.groups
        return before, before if self.reason else pairs * self.num_units * UNIT


class Convolutions(list[Convolution]):
    """A list of the convolutions of a model, which prints as a table.

    Attributes:
        unit_layers: number of layers of the model that already are units.
    """

    def __init__(self, convolutions: Iterable[Convolution], unit_layers: int) -> None:
        super().__init__(convolutions)
        self.unit_layers = unit_layers

    def __str__(self) -> str:
        """Return one line for each convolution, and the sums of their parameters and times."""
        already = [f"{self.unit_layers} layers already are units"] if self.unit_layers else []
        return "\n".join([self._table() if self else "no 2-D convolutions", *already])

    def _table(self) -> str:
        rows: list[tuple[str, ...]] = [("layer", "convolution", "becomes", "parameters", "then", "ms", "then")]
        for convolution in self:
            conv = convolution.module
            kind = f"{conv.in_channels} to {conv.out_channels}, {conv.kernel_size[0]} x {conv.kernel_size[1]}"
            kind += f", stride {conv.stride[0]}" if max(conv.stride) > 1 else ""
            kind += f", {conv.groups} groups" if conv.groups > 1 else ""
            becomes = f"stays: {convolution.reason}" if convolution.reason else f"{convolution.num_units} units"
            before, after = (f"{number:,}" for number in convolution.parameters)
            times = convolution.times
            mark = "~" if times and times.noisy else ""
            milliseconds = (f"{mark}{times.now:.2f}", f"{mark}{times.then:.2f}") if times else ("", "")
            rows.append((", ".join(convolution.names), kind, becomes, before, after, *milliseconds))
        before, after = (f"{sum(numbers):,}" for numbers in zip(*(c.parameters for c in self), strict=True))
        measured = [convolution.times for convolution in self if convolution.times]
        sums = [f"{sum(times.now for times in measured):.2f}", f"{sum(times.then for times in measured):.2f}"]
        rows.append(("all", "", f"{sum(not c.reason for c in self)} of {len(self)} become units", before, after, *sums))
        rows = [row[: 7 if measured else 5] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = "\n".join(
            "  ".join(
                cell.rjust(width) if number > 2 else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )
        return f"{table}\n{LEGEND}" if measured else table


def convolutions(
    model: nn.Module,
    select: Select | None = None,
    num_units: int | None = None,
    images: Tensor | None = None,
) -> Convolutions:
    """List the 2-D convolutions of a model, and which of them :func:`convert_` would replace.

    Args:
        model: any module.
        select: which convolutions to replace: a predicate of name and module, or one or more shell-style patterns of
            names, of convolutions or of modules that hold some: ``"layer3"``, ``"*.conv2"``. Default: all that gain
            from units. Kernels of fewer than 6 weights, such as 2 x 2, and kernels no larger than their stride, as in
            patch embeddings, do not.
        num_units: units per filter, as in :func:`convert_`.
        images: a batch of the images that the model will get. With it, the model runs once, and every convolution and
            its units are timed in a training step, each in its faster memory layout; nothing else should run
            meanwhile. This takes about half a second for each kind of layer.

    Returns:
        A list of one entry for each convolution, in the order of the model. ``print`` shows it as a table.

    Raises:
        TypeError: ``select`` is neither a function nor patterns of names, or ``num_units`` is no integer.
        ValueError: a pattern matches no convolution, or ``num_units`` is below 1.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1))
        >>> [(c.names, c.reason) for c in torchdau.convolutions(model)]
        [(('0',), ''), (('2',), 'its kernel is 1 x 1')]
        >>> print(torchdau.convolutions(model))
        layer  convolution    becomes                     parameters  then
        0      3 to 8, 3 x 3  2 units                            216   144
        2      8 to 8, 1 x 1  stays: its kernel is 1 x 1          64    64
        all                   1 of 2 become units                280   208
    """
    check_model(model)
    if num_units is not None:
        check_integer("num_units", num_units, 1)
    names: dict[nn.Conv2d, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Conv2d):
            names.setdefault(module, []).append(name)
    selected = _selection(select, [name for each in names.values() for name in each])
    owners = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    found = []
    for module, each in names.items():
        reason = _obstacle(module) or ("" if select else _needless(module))
        if not reason and any(owners[id(parameter)] > 1 for parameter in module.parameters()):
            reason = "its weight or bias is another module's as well (tied)"
        if not any(selected(name, module) for name in each):
            reason = "not selected"
        taps = module.kernel_size[0] * module.kernel_size[1]
        units = min(max(2, taps // TAPS), MOST_UNITS) if num_units is None else num_units
        found.append(Convolution(tuple(each), module, reason, 0 if reason else units))
    if images is not None:
        times = step_times(model, images, {c.module: c.num_units for c in found if _can_be_timed(c.module)})
        found = [c._replace(times=times.get(c.module)) for c in found]
    return Convolutions(found, sum(isinstance(module, DAUConv2d) for module in model.modules()))


def is_quantized(module: nn.Module) -> bool:
    """Return whether a module is a quantized 2-D convolution, which is not a subclass of nn.Conv2d."""
    kind = type(module)
    return kind.__module__.startswith("torch.ao.nn") and "Conv2d" in kind.__name__ and not isinstance(module, nn.Conv2d)


def obstacle_to(conv: nn.Conv2d, init: str, strides: str) -> str:
    """Return why a convolution cannot be converted with these options, or an empty string."""
    if init == "fit" and type(conv).__name__ in STANDARDISED:
        return "its weight is standardised, and init='fit' would fit another"
    if init == "fit" and conv.weight.is_meta:
        return "its weight is on the meta device, and init='fit' needs its values"
    if strides == "max_pool" and conv.stride != (1, 1) and any(map(any, geometry(conv)[0])):
        return "its output has not ceil(size / stride) pixels, as that of a max-pool"
    return ""


def _selection(select: Select | None, names: Sequence[str]) -> Callable[[str, nn.Module], bool]:
    if select is None:
        return lambda name, module: True
    if callable(select):
        return select
    patterns = [select] if isinstance(select, str) else list(select) if isinstance(select, Sequence) else [None]
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"select must be a function or patterns of names, got select={select!r}.")
        if not any(_fits(name, pattern) for name in names):
            near = get_close_matches(pattern, names, 1, cutoff=0.3)
            shown = ", ".join([*names[:5], *["and so on"] * (len(names) > 5)])
            hint = f"The names are {shown}." if names else "The model has no convolution."
            hint = f"Did you mean {near[0]!r}?" if near else hint
            raise ValueError(f"select must fit the name of a convolution, got {pattern!r}. {hint}")
    return lambda name, module: any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    """Return whether a pattern describes the name of a convolution, or of a module that holds it."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}.*")


def _needless(conv: nn.Conv2d) -> str:
    """Return why units would gain nothing in place of a convolution, or an empty string."""
    if all(step >= size for step, size in zip(conv.stride, conv.kernel_size, strict=True)):
        return "its stride is as large as its kernel (select it to convert it)"
    if conv.kernel_size[0] * conv.kernel_size[1] < 2 * UNIT:
        return "units have more parameters than its kernel (select it to convert it)"
    return ""


def _can_be_timed(conv: nn.Conv2d) -> bool:
    """Return whether a copy of a convolution computes the same when it is called alone."""
    return _obstacle(conv) in ("", IS_1_X_1) and conv.weight.dtype in FLOATS and not has_hooks(conv)


def _obstacle(conv: nn.Conv2d) -> str:
    """Return why a convolution cannot become units, or an empty string."""
    kind = type(conv)
    if isinstance(conv, LazyModuleMixin) and conv.has_uninitialized_params():
        return "it is lazy and has no shape yet (run the model once)"
    if not isinstance(conv._parameters.get("weight"), nn.Parameter) or is_parametrized(conv):
        return "its weight is computed from others (remove the weight norm or parametrization)"
    known = kind.__name__ in (*SAME, *STANDARDISED) and kind.__module__.startswith("timm.")
    own = (kind.forward, kind._conv_forward) != (nn.Conv2d.forward, nn.Conv2d._conv_forward)
    if "forward" in conv.__dict__ or (own and not known):
        return f"{kind.__name__} computes something else than Conv2d"
    if conv.kernel_size == (1, 1):
        return IS_1_X_1
    if conv.weight.dtype not in FLOATS:
        return f"its weight is of {conv.weight.dtype}"
    if has_hooks(conv):
        return "it has hooks, which would be lost"
    return ""
