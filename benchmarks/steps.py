"""Time of a training step of recipes.

    uv run python benchmarks/steps.py recipes/cifar10_resnet20.yaml recipes/cifar10_dau_resnet20.yaml [--repeats N]

A step is loss, gradients and optimizer on a batch of the recipe's own data; the recipes take turns. Prints medians, and
their ratio to the first recipe. Other options than these go to every recipe, as to ``torchdau fit``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningDataModule
from lightning.pytorch.cli import LightningCLI
from rich.console import Console
from rich.progress import track
from rich.table import Table

from torchdau.training.task import Task


def step_of(recipe: Path, options: list[str]) -> tuple[Task, Callable[[], None]]:
    """Return the task of a recipe, and a function that makes one step."""
    made = LightningCLI(
        Task,
        LightningDataModule,
        run=False,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=None,
        args=["--config", str(recipe), "--data.init_args.num_workers", "0", *options],
    )
    task, data = cast("Task", made.model), cast("Any", made.datamodule)
    task.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    made_optimizer = task.configure_optimizers()
    optimizer = made_optimizer["optimizer"] if isinstance(made_optimizer, dict) else made_optimizer

    def step() -> None:
        optimizer.zero_grad()
        cast("Any", task).training_step(batch, 0).backward()
        optimizer.step()

    return task.train(), step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    arguments, options = parser.parse_known_args()
    torch.set_num_threads(arguments.threads)
    steps = {recipe.stem: step_of(recipe, options) for recipe in arguments.recipes}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in track(range(arguments.repeats + 1), "steps", transient=True):
        for name, (_, step) in steps.items():
            start = time.perf_counter()
            step()
            if number:  # the first round is a warm-up
                seconds[name].append(time.perf_counter() - start)
    table = Table("recipe", "parameters", "ms a step", "ratio", box=None)
    first = statistics.median(next(iter(seconds.values())))
    for name, (task, _) in steps.items():
        median = statistics.median(seconds[name])
        parameters = sum(parameter.numel() for parameter in task.network.parameters())
        table.add_row(name, f"{parameters:,}", f"{1000 * median:.0f}", f"{median / first:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
