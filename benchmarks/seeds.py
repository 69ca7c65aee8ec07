"""Training of recipes from several seeds, with the mean and spread of their scores.

    uv run python benchmarks/seeds.py recipes/cifar10_resnet20.yaml recipes/cifar10_dau_resnet20.yaml \
        --trainer.max_epochs 5

Other options than these go to ``torchdau fit``. A run lies in OUTPUT/RECIPE/SEED; the same command again resumes
stopped runs, even in the middle of an epoch. The score comes from the last epoch: no epoch is chosen for its score on
the test set. Minutes are of single runs, with others running at the same time.
"""

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from torchdau.training.restoring import restore_network

FINISHED = "finished"
"""Name of the file that marks a finished run."""

SPENT = "minutes"
"""Name of the file with the minutes that a run has taken."""


class Run(NamedTuple):
    """Training of a recipe from a seed, in its own folder."""

    folder: Path
    recipe: Path
    options: Sequence[str]
    seed: int

    @property
    def finished(self) -> bool:
        """Whether the run has finished."""
        return (self.folder / FINISHED).exists()

    @property
    def minutes(self) -> float:
        """Minutes of training so far."""
        file = self.folder / SPENT
        return float(file.read_text()) if file.exists() else 0.0


def fit(run: Run, threads: int = 1, minutes: float | None = None) -> None:
    """Train a run in a separate process, to its end or for some minutes; resume it if it was stopped."""
    folder, text = run.folder, " ".join(run.options)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "options").exists() and (folder / "options").read_text() != text:
        raise RuntimeError(f"{folder} holds a run with other options. Name another --output.")
    (folder / "options").write_text(text)
    if run.finished:
        return
    command = [sys.executable, "-m", "torchdau", "fit", "--config", str(run.recipe.absolute()), *run.options]
    command += ["--seed_everything", str(run.seed), "--trainer.enable_progress_bar", "false"]
    if checkpoints := sorted(folder.glob("runs/**/last.ckpt"), key=os.path.getmtime):
        command += ["--ckpt_path", str(checkpoints[-1].absolute())]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if "TORCHDAU_DATA" in environment:
        environment["TORCHDAU_DATA"] = str(Path(environment["TORCHDAU_DATA"]).absolute())
    started = time.monotonic()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            process.wait(None if minutes is None else 60 * minutes)
        except subprocess.TimeoutExpired:
            process.terminate()  # it then writes a checkpoint
            process.wait()
    (folder / SPENT).write_text(f"{run.minutes + (time.monotonic() - started) / 60:.1f}")
    if process.returncode == 0:
        (folder / FINISHED).touch()
    elif process.returncode not in (128 + signal.SIGTERM, -signal.SIGTERM):
        raise RuntimeError(f"torchdau fit failed for {run.recipe} with seed {run.seed}; see {folder / 'log'}.")


def scores(folder: Path, metric: str) -> list[float]:
    """Return a run's score after each epoch; a resumed run has several tables."""
    found: dict[int, float] = {}
    for table in sorted(folder.glob("runs/**/metrics.csv"), key=os.path.getmtime):
        with table.open() as file:
            rows = (row for row in csv.DictReader(file) if row.get(metric))
            found |= {int(row["step"]): float(row[metric]) for row in rows}
    return [found[step] for step in sorted(found)]


def parameters(folder: Path) -> int:
    """Return the number of parameters of a run's network."""
    checkpoint = max(folder.glob("runs/**/last.ckpt"), key=os.path.getmtime)
    network = restore_network(checkpoint)
    return sum(parameter.numel() for parameter in network.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, which share the cores")
    parser.add_argument("--metric", default="val_accuracy")
    parser.add_argument("--output", type=Path, default=Path("runs/seeds"))
    arguments, options = parser.parse_known_args()
    runs = [
        Run(arguments.output / recipe.stem / str(seed), recipe, options, seed)
        for seed in arguments.seeds
        for recipe in arguments.recipes
    ]
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(track(pool.map(partial(fit, threads=threads), runs), "training", total=len(runs)))
    table = Table("recipe", "parameters", "mean", "spread", "runs", "mean after each epoch", "minutes", box=None)
    for recipe in arguments.recipes:
        each = [run for run in runs if run.recipe == recipe]
        reached = [scores(run.folder, arguments.metric) for run in each]
        last = [epochs[-1] for epochs in reached]
        table.add_row(
            recipe.stem,
            f"{parameters(each[0].folder):,}",
            f"{statistics.mean(last):.4f}",
            f"{statistics.stdev(last):.4f}" if len(last) > 1 else "",
            " ".join(f"{score:.4f}" for score in last),
            " ".join(f"{statistics.mean(epoch):.3f}" for epoch in zip(*reached, strict=True)),
            f"{statistics.median(run.minutes for run in each):.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
