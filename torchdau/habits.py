"""Arguments of other layers that a unit layer does not have, and their replacements."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Concatenate, ParamSpec, TypeVar, cast

P = ParamSpec("P")
Layer = TypeVar("Layer")

INSTEAD = {
    "kernel_size": "A unit layer has no kernel: num_units is the number of places that a filter reads, and "
    "max_displacement how far away they may be.",
    "dilation": "Units learn their distances: max_displacement is how far away they may be.",
    "units": "The number of units is num_units.",
    "dau_units": "The number of units is num_units.",
    "transposed": "There is no transposed unit layer: enlarge the image first, with torch.nn.functional.interpolate.",
    "max_kernel_size": "How far away units may be is max_displacement, in pixels.",
}


def explained(init: Callable[Concatenate[Layer, P], None]) -> Callable[Concatenate[Layer, P], None]:
    """Make a constructor name the replacement for an argument that it does not have."""
    names = list(signature(init).parameters)

    @wraps(init)
    def checked(self: Layer, *args: P.args, **kwargs: P.kwargs) -> None:
        if len(args) > 2:
            raise TypeError(
                f"arguments after out_channels must be given by name, got {args[2]!r} as the third. A unit layer has "
                "no kernel size: in place of a 3 x 3 kernel, write num_units=2, and leave padding at 0, which keeps "
                "the size of the image."
            )
        for name in kwargs.keys() - set(names):
            near = get_close_matches(name, names, 1)
            hint = INSTEAD.get(name) or (f"Did you mean {near[0]}?" if near else f"There are {', '.join(names[1:])}.")
            raise TypeError(f"arguments must be those of a unit layer, got {name}={kwargs[name]!r}. {hint}")
        init(self, *args, **kwargs)

    return cast("Callable[Concatenate[Layer, P], None]", checked)
