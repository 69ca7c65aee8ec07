"""Training of the whole of the paper's Table 1: units of every sigma, and their twins with kernels.

    TORCHDAU_DATA=cifar10 uv run python benchmarks/table1.py --seeds 0 1 2 --minutes 600
    TORCHDAU_DATA=cifar10 uv run python benchmarks/table1.py --networks resnet20    # ResNet-20, plain and with units

Networks train in turn, a slice of some minutes each. A slice continues where the one before stopped, with the same
result as without the stop. After every slice, table.md and curves.png are written from the results so far. The same
command resumes a stopped run; --minutes ends it earlier. Other options go to ``torchdau fit``.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from rich.console import Console
from seeds import Run, fit, scores

RECIPES = Path(__file__).parents[1] / "recipes"
METRIC = "val_accuracy"


class Network(NamedTuple):
    """A row of the table.

    Attributes:
        recipe: recipe to train.
        options: options of ``torchdau fit``.
        paper: test accuracy in the paper, in %.
    """

    recipe: str
    options: Sequence[str] = ()
    paper: float | None = None


def _sigma(sigma: float, paper: float) -> Network:
    return Network("cifar10_dau.yaml", ["--model.init_args.network.init_args.sigma", str(sigma)], paper)


NETWORKS = {
    "table1": {
        "units, sigma 0.5": _sigma(0.5, 83.8),
        "3 x 3": Network("cifar10_conv.yaml"),
        "units, learned sigma": Network("cifar10_dau_learned_sigma.yaml", (), 84.25),
        "5 x 5": Network("cifar10_conv.yaml", ["--model.init_args.network.init_args.kernel_size", "5"]),
        "units, sigma 0.3": _sigma(0.3, 82.9),
        "units, sigma 0.4": _sigma(0.4, 83.4),
        "units, sigma 0.6": _sigma(0.6, 83.6),
        "units, sigma 0.7": _sigma(0.7, 82.9),
        "units, sigma 0.8": _sigma(0.8, 82.8),
    },
    "resnet20": {
        "ResNet-20, plain": Network("cifar10_resnet20.yaml"),
        "ResNet-20, units": Network("cifar10_dau_resnet20.yaml"),
    },
}


def runs(
    networks: dict[str, Network], seeds: Sequence[int], options: Sequence[str], output: Path
) -> dict[str, list[Run]]:
    """Return the runs of each network, one for each seed."""
    made: dict[str, list[Run]] = {}
    for name, network in networks.items():
        folder = output / name.replace(" ", "_").replace(",", "")
        recipe, given = RECIPES / network.recipe, [*network.options, *options]
        made[name] = [Run(folder / str(seed), recipe, given, seed) for seed in seeds]
    return made


def write(networks: dict[str, Network], made: dict[str, list[Run]], output: Path) -> str:
    """Write the table and the curves of the results so far, and return the table."""
    lines = ["| network | epochs | seeds | accuracy | deviation | paper | minutes |", "|---|---|---|---|---|---|---|"]
    figure, axes = plt.subplots(figsize=(8, 5))
    for name, each in made.items():
        curves = [curve for run in each if (curve := scores(run.folder, METRIC))]
        if not curves:
            continue
        epochs = min(map(len, curves))  # reached by all seeds
        last = [100 * curve[epochs - 1] for curve in curves]
        spread = f"{statistics.stdev(last):.2f}" if len(last) > 1 else ""
        finished = "" if all(run.finished for run in each) else ", unfinished"
        paper = networks[name].paper
        cells = name, f"{epochs}{finished}", str(len(curves)), f"{statistics.mean(last):.2f} %", spread
        minutes = f"{sum(run.minutes for run in each):.0f}"
        lines.append(f"| {' | '.join(cells)} | {f'{paper} %' if paper else ''} | {minutes} |")
        means = [100 * statistics.mean(values) for values in zip(*curves, strict=False)]
        axes.plot(range(1, len(means) + 1), means, label=name)
    axes.set(xlabel="epoch", ylabel="test accuracy in %")
    if len(lines) > 2:
        axes.legend()
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "curves.png", dpi=150)
    plt.close(figure)
    (output / "table.md").write_text("\n".join(lines) + "\n")
    return "\n".join(lines)


def train(
    made: dict[str, list[Run]], minutes: float, slice_minutes: float, threads: int, after: Callable[[], None]
) -> None:
    """Train runs in turn, the first seed of all networks first."""
    end = time.monotonic() + 60 * minutes
    order = [run for seed in zip(*made.values(), strict=True) for run in seed]
    while left := [run for run in order if not run.finished]:
        for run in left:
            rest = (end - time.monotonic()) / 60
            if rest <= 0:
                return
            fit(run, threads, min(slice_minutes, rest))
            after()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", choices=NETWORKS, default="table1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which it stops")
    parser.add_argument("--slice", type=float, default=30, help="minutes for which a network trains at a time")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("runs/table1"))
    arguments, options = parser.parse_known_args()
    networks = NETWORKS[arguments.networks]
    made = runs(networks, arguments.seeds, options, arguments.output)
    console = Console()
    with console.status("training"):
        times = arguments.minutes, arguments.slice
        train(made, *times, arguments.threads, lambda: console.print(write(networks, made, arguments.output)))


if __name__ == "__main__":
    main()
