"""Speed of depthwise unit layers beside depthwise convolutions, and beside DCLS, which learns places too.

    uv run python benchmarks/depthwise.py       # DCLS, where it is installed: uv pip install DCLS

Prints a Markdown table: milliseconds of a forward pass and of a training step (all gradients), medians, interleaved,
each in the faster of NCHW and channels_last. Units reach 8 pixels; DCLS has the same number of elements, in a kernel of
17 x 17.
"""

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from networks import LAYOUTS, Step, milliseconds
from rich.progress import track
from torch import Tensor, nn

from torchdau import DAUConv2d

LAYERS = [(96, 56), (192, 28), (384, 14), (768, 7)]
"""Channels, and pixels along a side."""

REACH = 8
"""Largest reach of units in pixels."""


def makes(channels: int, units: int) -> dict[str, Callable[[], nn.Module]]:
    """Return functions that make the layers, by name."""
    options: dict[str, Any] = {"groups": channels, "bias": False}
    found: dict[str, Callable[[], nn.Module]] = {
        f"{size} x {size}": partial(nn.Conv2d, channels, channels, size, padding=size // 2, **options)
        for size in (3, 7)
    }
    found["units"] = partial(DAUConv2d, channels, channels, num_units=units, max_displacement=REACH, **options)
    if importlib.util.find_spec("DCLS"):
        from DCLS.construct.modules import Dcls2d

        options |= {"kernel_count": units, "dilated_kernel_size": 2 * REACH + 1, "padding": REACH, "version": "v1"}
        found["DCLS"] = partial(Dcls2d, channels, channels, **options)
    return found


def steps(layer: nn.Module, images: Tensor) -> dict[str, Step]:
    """Return a forward pass and a training step of a layer."""
    leaves = [images.clone(memory_format=torch.preserve_format).requires_grad_(), *layer.parameters()]
    grad = torch.randn_like(layer(leaves[0]))

    @torch.no_grad()
    def forward() -> None:
        layer(images)

    def training() -> None:
        torch.autograd.grad(layer(leaves[0]), leaves, grad)

    return {"inference": forward, "training": training}


def row(channels: int, side: int, units: int, batch: int, repeats: int) -> dict[tuple[str, str], float]:
    """Return milliseconds by layer and step."""
    images, made = torch.randn(batch, channels, side, side), {}
    for name, make in makes(channels, units).items():
        layer = make()
        if isinstance(layer, DAUConv2d):
            nn.init.uniform_(layer.displacement, -REACH, REACH)
        for layout, order in LAYOUTS.items():
            made[name, layout] = steps(layer.to(memory_format=order), images.contiguous(memory_format=order))
    return milliseconds(made, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    names = list(makes(1, 1))
    columns = [f"{kind}: {', '.join(names)}" for kind in ("forward", "training")]
    print(f"| channels, pixels, units | {columns[0]} | units / 3 x 3, 7 x 7 | {columns[1]} | units / 3 x 3, 7 x 7 |")
    print("|---|---|---|---|---|")
    for units, (channels, side) in track([(k, layer) for k in (2, 6) for layer in LAYERS], transient=True):
        times = row(channels, side, units, arguments.batch, arguments.repeats)
        cells = [f"{channels}, {side}, {units}"]
        for kind in ("inference", "training"):
            values = {name: times[name, kind] for name in names}
            ratios = (values["units"] / values[size] for size in ("3 x 3", "7 x 7"))
            cells += [", ".join(f"{ms:.3g}" for ms in values.values()), ", ".join(f"{ratio:.2f}" for ratio in ratios)]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
