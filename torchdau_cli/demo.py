"""The command ``torchdau demo``: three networks on a task where reach matters, side by side."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torchdau_cli.devices import chosen_device
from torchdau_cli.options import run

REACH = 0.9
"""Share of the influence on the output that the reach of a network holds."""


def main(args: Sequence[str]) -> None:
    """Run the demo with the options of :func:`demo`."""
    run(demo, args)


def demo(output: Path = Path("runs/demo"), epochs: int = 15, device: str | None = None) -> None:
    """Train a 3 x 3, a unit and a dilated network to read digits of 32 x 32 pixels; nothing is downloaded.

    None of the networks has pooling or strides, so that their reach is what their kernels see.

    Args:
        output: folder for the pictures.
        epochs: passes over the 1,437 training images.
        device: cpu, cuda, mps, ... Default: the accelerator of this machine, else its CPU.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got epochs={epochs}.")
    import torch
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from torchdau.analysis.plots import plot_displacements, plot_reach
    from torchdau.training.demo import digits, make_network, measured
    from torchdau.whole import whole_file

    console = Console()
    where = chosen_device(device)
    console.print(f"device: {where}")
    output.mkdir(parents=True, exist_ok=True)
    training, test = (digits(train) for train in (True, False))
    kinds = {"3 x 3": 1, "units": None, "3 x 3, dilation 4": 4}
    results = {}
    with Progress(console=console) as progress:
        for name, dilation in kinds.items():
            torch.manual_seed(0)
            network = make_network(dilation).to(where)
            results[name] = measured(network, training, test, epochs, partial(progress.track, description=name))
    table = Table("network", "test accuracy", "parameters", "reach before", "reach after", "time")
    for name, result in results.items():
        table.add_row(
            name,
            f"{result.accuracy:.1%}",
            f"{sum(p.numel() for p in result.network.parameters()):,}",
            f"{result.before.radius(REACH):.1f} pixels",
            f"{result.after.radius(REACH):.1f} pixels",
            f"{result.seconds:.0f} s",
        )
    console.print(table)
    console.print(
        f"Reach is the radius that holds {REACH:.0%} of the influence on the output. The units found theirs, the "
        "dilation was set by hand. The task was chosen because reach matters; docs/results.md shows where it does not."
    )
    units = results["units"]
    pictures = {
        "reach.png": plot_reach({name: (r.before, r.after) for name, r in results.items()}, test[0][3, 0]),
        "displacements.png": plot_displacements(units.network, start=units.untrained),
    }
    for name, figure in pictures.items():
        with whole_file(output / name) as part:
            figure.savefig(part, dpi=150)
        console.print(f"picture: {output / name}", soft_wrap=True)
