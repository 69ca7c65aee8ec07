"""Trains recipes from several seeds, and tells mean and spread of what they reach.

    uv run python benchmarks/seeds.py recipes/cifar10_resnet20.yaml recipes/cifar10_dau_resnet20.yaml \
        --trainer.max_epochs 5 --model.init_args.scheduler.init_args.milestones "[3, 4]"

Other options than these go to ``torchdau fit``. A run lies in OUTPUT/RECIPE/SEED; the same command again goes on where
it was stopped. The score is that of the last epoch: none is chosen for its score on the test set. Minutes are of
single runs while others ran beside them.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from torchdau.training.restoring import restore_task

FINISHED = "minutes"  # the file that marks a finished run, and holds its time


def fit(run: tuple[Path, Path, int], options: list[str], threads: int) -> None:
    """One run: a process of its own in a folder of its own."""
    folder, recipe, seed = run
    if (folder / FINISHED).exists():
        if (folder / "options").read_text() != " ".join(options):
            raise RuntimeError(f"{folder} holds a run with other options. Name another --output.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options").write_text(" ".join(options))
    command = [sys.executable, "-m", "torchdau", "fit", "--config", str(recipe.absolute()), *options]
    command += ["--seed_everything", str(seed), "--trainer.enable_progress_bar", "false"]
    started = time.monotonic()
    with (folder / "log").open("w") as log:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        if "TORCHDAU_DATA" in environment:
            environment["TORCHDAU_DATA"] = str(Path(environment["TORCHDAU_DATA"]).absolute())
        result = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if result.returncode:
        raise RuntimeError(f"torchdau fit failed for {recipe} with seed {seed}; its output is in {folder / 'log'}.")
    (folder / FINISHED).write_text(f"{(time.monotonic() - started) / 60:.1f}")


def scores(folder: Path, metric: str) -> list[float]:
    """A run's score after each epoch."""
    table = max(folder.glob("runs/**/metrics.csv"), key=os.path.getmtime)
    with table.open() as file:
        return [float(row[metric]) for row in csv.DictReader(file) if row.get(metric)]


def parameters(folder: Path) -> int:
    """How many numbers a run's network learned."""
    checkpoint = max(folder.glob("runs/**/last.ckpt"), key=os.path.getmtime)
    network = cast("nn.Module", restore_task(checkpoint).network)
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
        (arguments.output / recipe.stem / str(seed), recipe, seed)
        for seed in arguments.seeds
        for recipe in arguments.recipes
    ]
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        work = pool.map(partial(fit, options=options, threads=threads), runs)
        list(track(work, "training", total=len(runs)))
    table = Table("recipe", "parameters", "mean", "spread", "runs", "mean after each epoch", "minutes", box=None)
    for recipe in arguments.recipes:
        folders = [folder for folder, other, _ in runs if other == recipe]
        reached = [scores(folder, arguments.metric) for folder in folders]
        last = [epochs[-1] for epochs in reached]
        table.add_row(
            recipe.stem,
            f"{parameters(folders[0]):,}",
            f"{statistics.mean(last):.4f}",
            f"{statistics.stdev(last):.4f}" if len(last) > 1 else "",
            " ".join(f"{score:.4f}" for score in last),
            " ".join(f"{statistics.mean(epoch):.3f}" for epoch in zip(*reached, strict=True)),
            f"{statistics.median(float((folder / FINISHED).read_text()) for folder in folders):.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
