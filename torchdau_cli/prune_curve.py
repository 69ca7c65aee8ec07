"""The command ``torchdau prune-curve``: what a trained network keeps as its weak units go."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchdau_cli.devices import chosen_device
from torchdau_cli.options import run

if TYPE_CHECKING:
    from rich.table import Table


def main(args: Sequence[str]) -> None:
    """Run the command with the options of :func:`prune_curve`."""
    files = {"nargs": "+", "type": Path, "help": "files that torchdau fit wrote"}
    run(prune_curve, args, checkpoints=files)


def prune_curve(
    checkpoints: Sequence[Path],
    thresholds: tuple[float, ...] = (0, 0.01, 0.02, 0.05, 0.1, 0.25),
    output: Path = Path("runs/prune_curve"),
    repeats: int = 15,
    overwrite: bool = False,
    device: str | None = None,
) -> None:
    """Measure trained networks on the test set without their weak units: Table 2 and Figure 5 of the paper.

    Args:
        checkpoints: files that torchdau fit wrote.
        thresholds: fractions of the largest absolute weight of a layer; units below are removed. Default: the paper's.
        output: folder for the table and the picture.
        repeats: number of measurements of time on the CPU, for one image and for a batch; 0 measures none.
        overwrite: replace a table that exists.
        device: cpu, cuda, mps, ... for the test set. Default: the accelerator of this machine, else its CPU.
    """
    if not thresholds or repeats < 0:
        raise ValueError(
            f"thresholds must not be empty and repeats must be at least 0, got thresholds={list(thresholds)} and "
            f"repeats={repeats}."
        )
    if (there := output / "prune_curve.csv").exists() and not overwrite:
        raise FileExistsError(f"output must not hold a table yet, got {str(there)!r}. Give --overwrite true.")
    from rich.console import Console

    from torchdau.analysis.plots import plot_prune_curves
    from torchdau.training.pruned import measured
    from torchdau.training.restoring import named_checkpoints
    from torchdau.whole import whole_file

    where = chosen_device(device)
    Console().print(f"device: {where}")
    output.mkdir(parents=True, exist_ok=True)
    steps = {name: measured(path, thresholds, repeats, where) for name, path in named_checkpoints(checkpoints).items()}
    rows = [{"checkpoint": name, **row} for name, network in steps.items() for row in network]
    with whole_file(output / "prune_curve.csv") as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    metric = next(name for name in rows[0] if name not in ("checkpoint", "threshold", "loss"))
    curves = {
        name: [(row["units"], row[metric], row["threshold"]) for row in network] for name, network in steps.items()
    }
    with whole_file(output / "prune_curve.png") as part:
        plot_prune_curves(curves, metric).savefig(part, dpi=150)
    console = Console()
    console.print(table(rows if len(steps) > 1 else next(iter(steps.values()))))
    console.print(f"written: {output / 'prune_curve.csv'}, {output / 'prune_curve.png'}", soft_wrap=True)


def table(rows: Sequence[dict[str, Any]]) -> "Table":
    """The rows for people to read."""
    from rich.table import Table

    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "checkpoint": ("checkpoint", str),
        "threshold": ("threshold", "{:g}".format),
        "units": ("units", "{:,}".format),
        "removed": ("removed", "{:.1%}".format),
        "parameters": ("parameters", "{:,}".format),
        "file_size": ("kB", lambda size: f"{size / 1000:,.0f}"),
        "seconds_one_image": ("ms,\n1 image", lambda seconds: f"{1000 * seconds:.2f}"),
        "seconds_batch": ("ms,\nbatch", lambda seconds: f"{1000 * seconds:.1f}"),
    }
    shown = {name: columns.get(name, (name, "{:.4f}".format)) for name in rows[0]}
    result = Table(*(title for title, _ in shown.values()), box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        result.add_row(*(text(row[name]) for name, (_, text) in shown.items()))
    return result
