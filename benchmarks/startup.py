"""How long commands take to answer, beside importing torch and Lightning.

    uv run python benchmarks/startup.py [--before FOLDER] [--repeats N]

Prints medians in seconds of processes that take turns. ``--before`` measures another checkout of this repository too,
whose dependencies must be the same.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).parents[1]
START = "import sys; sys.argv = ['torchdau', *{words}]; from {module} import main; main()"
COMMANDS = (
    *("--help", "--version", "env", "fitt", "fit --help", "fit --confg x.yaml", "fit --config no.yaml", "test no.ckpt"),
    *("test --help", "predict --help", "deblur --help", "blur --help", "plot --help", "report --help"),
    *("prune-curve --help", "parameters --help", "demo --help", "deblur --outptu x", "parameters", "fit --help-all"),
)


def seconds(code: str, folder: Path) -> float:
    """Return how long a process takes."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="folder of another checkout")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, after one that writes byte code")
    options = parser.parse_args()
    folders = [*([options.before.absolute()] if options.before else []), HERE]
    codes = {"import torch": "import torch", "import lightning": "import lightning"}
    codes |= {f"torchdau {words}": START for words in COMMANDS}
    times: dict[tuple[str, Path], list[float]] = {}
    for number in track(range(options.repeats + 1), "rounds"):
        for name, code in codes.items():
            for folder in folders:
                module = "torchdau_cli.main" if (folder / "torchdau_cli").is_dir() else "torchdau.__main__"
                taken = seconds(code.format(words=name.split()[1:], module=module), folder)
                if number:
                    times.setdefault((name, folder), []).append(taken)
    table = Table("command", *(["before"] if options.before else []), "seconds", "of import torch", box=None)
    torch = statistics.median(times["import torch", HERE])
    for name in codes:
        medians = [statistics.median(times[name, folder]) for folder in folders]
        table.add_row(name, *(f"{median:.2f}" for median in medians), f"{medians[-1] / torch:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
