"""The command ``torchdau plot``: a picture of what the units of a trained network learned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from rich.console import Console
from rich.progress import track
from torch import nn

from torchdau.analysis import receptive_field, spatial_layers
from torchdau.analysis.plots import plot_displacements, plot_distances, plot_receptive_fields, plot_sigmas
from torchdau.training.commands.options import run
from torchdau.training.restoring import first_images, named_checkpoints, restore_start, restore_task

Kind = Literal["displacements", "distances", "sigmas", "receptive-fields"]


def main(args: Sequence[str]) -> None:
    """Runs the command with the options of :func:`plot`."""
    kinds = {"type": Kind, "help": "displacements, distances, sigmas or receptive-fields"}
    run(plot, "plot", args, kind=kinds, checkpoint={"type": Path, "help": "a file that torchdau fit wrote"})


def plot(
    kind: Kind,
    checkpoint: Path,
    output: Path | None = None,
    compare: Path | None = None,
    layers: list[str] | None = None,
    shares: tuple[float, ...] = (0, 0.75, 0.9),
    max_channels: int | None = 32,
    size: int = 64,
) -> None:
    """Makes a picture as in the paper: Figure 7, 6, 4 or 8.

    Args:
        kind: displacements (Figure 7), distances (Figure 6), sigmas (Figure 4) or receptive-fields (Figure 8).
        checkpoint: a file that torchdau fit wrote.
        output: the picture, of any format that matplotlib writes. Default: KIND.png.
        compare: of receptive fields, another such file, such as that of the convolutional twin.
        layers: names of the layers to show. Default: all unit layers.
        shares: of displacements and distances, units are shown whose absolute weight is at least such a share of the
            largest.
        max_channels: of receptive fields, channels of a layer over which they are averaged; none for all.
        size: of receptive fields, side in pixels of the noise that is seen where the data set is not there.
    """
    target = output or Path(f"{kind}.png")
    network = cast("nn.Module", restore_task(checkpoint).network)
    if kind == "displacements":
        figure = plot_displacements(network, shares, layers, restore_start(checkpoint))
    elif kind == "distances":
        figure = plot_distances(network, shares, layers)
    elif kind == "sigmas":
        figure = plot_sigmas(network, restore_start(checkpoint), layers)
    else:
        images, seen = first_images(checkpoint, size)
        fields = {}
        for name, path in named_checkpoints([checkpoint, *([compare] if compare else [])]).items():
            each = cast("nn.Module", restore_task(path).network)
            names = track(layers or spatial_layers(each), name, disable=not Console().is_terminal)
            fields[name] = [receptive_field(each, layer, images, max_channels) for layer in names]
        figure = plot_receptive_fields(fields)
        Console().print(f"seen: {seen}")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    Console().print(f"written: {target}", soft_wrap=True)
