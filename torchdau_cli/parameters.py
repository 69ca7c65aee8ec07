"""The command ``torchdau parameters``: the paper's counts beside this software's."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from torchdau_cli.options import run


def main(args: Sequence[str]) -> None:
    """Run the command with the options of :func:`parameters`."""
    run(parameters, args)


def parameters(format: Literal["text", "json"] = "text") -> None:
    """Counts units and parameters of every network of the project: Tables 2 to 8 of the paper.

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
    table = Table("network", "units", "in units", "elsewhere", "total", "paper", box=None, pad_edge=False)
    for row in rows:
        numbers = row.units, row.spatial_parameters, row.total_parameters - row.spatial_parameters, row.total_parameters
        table.add_row(row.network, *(f"{number:,}" for number in numbers), row.paper)
    Console().print(table)
