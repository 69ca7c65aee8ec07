"""The command ``torchdau plot``: a picture of what the units of a trained network learned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from torchdau_cli.files import check_output
from torchdau_cli.options import run

Kind = Literal["displacements", "distances", "sigmas", "receptive-fields"]


def main(args: Sequence[str]) -> None:
    """Run the command with the options of :func:`plot`."""
    if args and args[0] in get_args(Kind):
        raise ValueError(f"the checkpoint is the first argument: torchdau plot CHECKPOINT {args[0]}")
    kinds = {"type": Kind, "help": "displacements, distances, sigmas or receptive-fields"}
    run(plot, args, checkpoint={"type": Path, "help": "a file that torchdau fit wrote"}, kind=kinds)


def plot(
    checkpoint: Path,
    kind: Kind,
    output: Path | None = None,
    compare: Path | None = None,
    layers: list[str] | None = None,
    shares: tuple[float, ...] = (0, 0.75, 0.9),
    max_channels: int | None = 8,
    size: int = 64,
    overwrite: bool = False,
) -> None:
    """Draw what the units of a trained network learned, as in Figures 4, 6, 7 and 8 of the paper.

    Args:
        checkpoint: a file that torchdau fit wrote.
        kind: displacements (Figure 7), distances (Figure 6), sigmas (Figure 4) or receptive-fields (Figure 8).
        output: the picture, in any format that matplotlib writes. Default: KIND.png.
        compare: receptive-fields: a second checkpoint to show beside the first.
        layers: names of the layers to show. Default: the unit layers, at most eight, from the first to the last.
        shares: displacements and distances: one column for each share; it shows the units whose absolute weight is at
            least this share of the largest.
        max_channels: receptive-fields: number of channels of a layer to average over; null for all.
        size: receptive-fields: side in pixels of the noise that replaces a missing data set.
        overwrite: replace a picture that exists.
    """
    if kind != "receptive-fields" and (compare, max_channels, size) != (None, 8, 64):
        raise ValueError(f"compare, max_channels and size are options of receptive-fields, got one of them for {kind}.")
    if not shares:
        raise ValueError("shares must have at least one share, got none.")
    target = output or Path(kind)
    target = target if target.suffix else target.with_suffix(".png")
    check_output(target, overwrite)
    from rich.console import Console
    from rich.progress import track

    from torchdau.analysis import receptive_field, spatial_layers, units_of
    from torchdau.analysis.plots import plot_displacements, plot_distances, plot_receptive_fields, plot_sigmas
    from torchdau.training.restoring import check_images, named_checkpoints, restore_network, restore_start
    from torchdau.whole import whole_file

    network = restore_network(checkpoint)
    shown = layers or (spatial_layers(network) if units_of(network) else None)
    if kind == "displacements":
        figure = plot_displacements(network, shares, shown, restore_start(checkpoint))
    elif kind == "distances":
        figure = plot_distances(network, shares, shown)
    elif kind == "sigmas":
        figure = plot_sigmas(network, restore_start(checkpoint), shown)
    else:
        from torchdau.training.restoring_tasks import first_images

        images, seen = first_images(checkpoint, size)
        fields = {}
        paths = named_checkpoints([checkpoint, *([compare] if compare else [])])
        networks = {name: restore_network(path) for name, path in paths.items()}
        check_images(networks.values(), images)
        for name, each in networks.items():
            names = track(layers or spatial_layers(each), name, disable=not Console().is_terminal)
            fields[name] = [receptive_field(each, layer, images, max_channels) for layer in names]
        figure = plot_receptive_fields(fields)
        Console().print(f"device: {images.device}\nseen: {seen}")
    with whole_file(target) as part:
        figure.savefig(part, dpi=150)
    Console().print(f"written: {target}", soft_wrap=True)
