"""The command ``torchdau report``: a page about a trained network."""

from collections.abc import Sequence
from pathlib import Path

from torchdau_cli.files import check_output
from torchdau_cli.options import run


def main(args: Sequence[str]) -> None:
    """Run the command with the options of :func:`report`."""
    run(report, args, checkpoint={"type": Path, "help": "a file that torchdau fit wrote"})


def report(
    checkpoint: Path,
    compare: Path | None = None,
    output: Path = Path("report.html"),
    prune_curve: Path | None = None,
    size: int = 64,
    max_channels: int = 8,
    overwrite: bool = False,
) -> None:
    """Write an HTML page about a trained network: accuracy, cost, displacements, receptive fields, training curves.

    The page needs no internet connection and no other file.

    Args:
        checkpoint: a file that torchdau fit wrote.
        compare: a second checkpoint to show beside the first, such as the convolutional baseline.
        output: the page.
        prune_curve: the table of torchdau prune-curve, to show what pruning costs. Default: only what it removes.
        size: side in pixels of the noise that replaces a missing data set.
        max_channels: number of channels of a layer over which its receptive field is averaged.
        overwrite: replace a page that exists.
    """
    if prune_curve is not None and not prune_curve.is_file():
        raise FileNotFoundError(f"prune_curve must be a table of torchdau prune-curve, got {str(prune_curve)!r}.")
    check_output(output, overwrite)
    from rich.console import Console
    from rich.progress import track

    from torchdau.training.report.page import write
    from torchdau.training.report.sections import sections
    from torchdau.training.restoring import data_name, named_checkpoints

    Console().print("device: cpu")
    checkpoints = [checkpoint, *([compare] if compare else [])]
    makers = sections(checkpoints, prune_curve, size, max_channels)
    made = [make() for make in track(makers, "report", disable=not Console().is_terminal)]
    write(output, f"{next(iter(named_checkpoints(checkpoints)))} on {data_name(checkpoint)}", made)
    Console().print(f"written: {output}", soft_wrap=True)
