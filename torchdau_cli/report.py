"""The command ``torchdau report``: a page about a trained network."""

from collections.abc import Sequence
from pathlib import Path

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
    """Write a page about a trained network: its layers, where its units stand, what it sees, how it was trained.

    The page needs no network and no other file.

    Args:
        checkpoint: a file that torchdau fit wrote.
        compare: another such file, to show beside it, such as that of the convolutional twin.
        output: the page.
        prune_curve: table that torchdau prune-curve wrote, to show what pruning costs; else only what it removes.
        size: side in pixels of the noise that the network sees where its data set is not there.
        max_channels: channels of a layer over which its receptive field is averaged.
        overwrite: whether to replace a page that is there.
    """
    if output.exists() and not overwrite:
        raise FileExistsError(f"output must not be there yet, got {str(output)!r}. Give --overwrite true.")
    from rich.console import Console
    from rich.progress import track

    from torchdau.training.report.page import write
    from torchdau.training.report.sections import sections
    from torchdau.training.restoring import data_name, named_checkpoints

    checkpoints = [checkpoint, *([compare] if compare else [])]
    makers = sections(checkpoints, prune_curve, size, max_channels)
    made = [make() for make in track(makers, "report", disable=not Console().is_terminal)]
    write(output, f"{next(iter(named_checkpoints(checkpoints)))} on {data_name(checkpoint)}", made)
    Console().print(f"written: {output}", soft_wrap=True)
