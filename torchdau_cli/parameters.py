"""The command ``torchdau parameters``: the paper's counts beside this software's."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from torchdau_cli.options import run

WIDE = 1000
"""More columns than the table has."""


def main(args: Sequence[str]) -> None:
    """Run the command with the options of :func:`parameters`."""
    run(parameters, args)


def parameters(format: Literal["text", "json"] = "text") -> None:
    """Count units and parameters of every network of the paper, beside the figures of its Tables 2 to 8.

    Args:
        format: text for people, or json: a list of objects.
    """
    from rich.console import Console
    from rich.table import Table

    from torchdau.analysis.counts import counts

    rows = counts()
    if format == "json":
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
        return
    table = Table("network", "units", "spatial", "all", "paper", box=None, pad_edge=False)
    for row in rows:
        numbers = row.units, row.spatial_parameters, row.total_parameters
        table.add_row(row.network, *(f"{number:,}" if number else "" for number in numbers), row.paper)
    console = Console()
    wide = console.options.update(max_width=WIDE)
    console.width = max(console.width, console.measure(table, options=wide).maximum)  # no row is wrapped
    console.print(table)
    console.print(
        "spatial: parameters of units, or of the kernels larger than 1 x 1 in a plain network; all: of the network",
        soft_wrap=True,
    )
