"""Reach that units learn, by rules for their displacements.

    uv run python benchmarks/reach.py teacher           # a student seeks a teacher's units, up to 8 pixels away
    uv run python benchmarks/reach.py digits            # the networks of torchdau demo: SGD and AdamW, several seeds
    uv run python benchmarks/reach.py rates             # the same by rates of the weights
    uv run python benchmarks/reach.py trained FILE ...  # where the units of checkpoints of torchdau fit went

For networks on CamVid and CIFAR-10, train recipes with benchmarks/seeds.py, and give their checkpoints to the last.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

import torchdau
from torchdau import DAUConv2d, parameter_groups
from torchdau.analysis import moved, units_of
from torchdau.training.demo import accuracy, digits, make_network, train
from torchdau.training.restoring import restore_network, restore_start

Make = Callable[..., torch.optim.Optimizer]
Rule = Callable[[nn.Module, Make, float], torch.optim.Optimizer]

FAR = 8
"""Largest reach of the teacher's units in pixels."""

CLASSES: dict[str, tuple[Make, float]] = {
    "SGD": (partial(torch.optim.SGD, momentum=0.9), 0.05),
    "AdamW": (torch.optim.AdamW, 0.003),
}
"""Optimizers of the weights, and their rates on the digits."""

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


def in_pixels(model: nn.Module, make: Make, lr: float, displacement_lr: float = 0.05) -> torch.optim.Optimizer:
    return torchdau.optimizer(model, make, lr, weight_decay=0, displacement_lr=displacement_lr)


def by_factor(model: nn.Module, make: Make, lr: float) -> torch.optim.Optimizer:
    return make(parameter_groups(model, lr))


def like_weights(model: nn.Module, make: Make, lr: float) -> torch.optim.Optimizer:
    return make(parameter_groups(model, lr, displacement_lr=lr))


def frozen(model: nn.Module, make: Make, lr: float) -> torch.optim.Optimizer:
    for module in model.modules():
        if isinstance(module, DAUConv2d):
            module.displacement.requires_grad_(False)
    return make(parameter_groups(model, lr))


RULES: dict[str, Rule] = {
    **{f"{rate} pixels": partial(in_pixels, displacement_lr=rate) for rate in (0.05, 0.1, 0.2)},
    "500 times the rate": by_factor,
    "the rate of weights": like_weights,
    "frozen": frozen,
}


def crops(kind: str) -> Tensor:
    """Return pieces (N, 3, 48, 48) of scikit-learn's two photographs, or noise; with mean 0 and deviation 1."""
    if kind == "noise":
        return torch.randn(200, 3, 48, 48)
    photographs = torch.stack([torch.tensor(image) for image in load_sample_images().images])
    pieces = photographs.permute(0, 3, 1, 2).float().unfold(2, 48, 48).unfold(3, 48, 48)
    pieces = pieces.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    return (pieces - pieces.mean()) / pieces.std()


def recovered(kind: str, start: float, shrink: bool, rule: Rule, seed: int, steps: int = 600) -> float:
    """Return the share of a teacher's units that have one of the student's within half a pixel after training."""
    torch.manual_seed(seed)
    images = crops(kind)
    teacher, student = (DAUConv2d(3, 8, num_units=2, max_displacement=FAR, bias=False) for _ in range(2))
    torchdau.init.uniform_(teacher.displacement, FAR)
    torchdau.init.uniform_(student.displacement, start)
    model = nn.Sequential(student)
    optimizer = rule(model, torch.optim.AdamW, 0.01)
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        if shrink:
            student.sigma = max(0.5, 2 - 3 * step / steps)
        batch = images[torch.randint(len(images), (4,))]
        optimizer.zero_grad()
        with torch.no_grad():
            wanted = teacher(batch)
        F.mse_loss(model(batch), wanted).backward()
        optimizer.step()
        schedule.step()
    distance = teacher.displacement[:, :, :, None] - student.displacement[:, :, None]
    return (distance.norm(dim=-1).amin(-1) <= 0.5).float().mean().item()


def show_teacher(seeds: list[int]) -> Table:
    """Return a table with rows by images, starts and sigmas, columns by rules."""
    rules = {name: rule for name, rule in RULES.items() if name != "frozen"}
    table = Table("images", "start within", "sigma", *rules, box=None)
    rows = list(itertools.product(("photographs", "noise"), (1.5, FAR), (False, True)))
    cells = track(list(itertools.product(rows, rules.values())), "teacher")
    shares = [statistics.mean(recovered(*row, rule, seed) for seed in seeds) for row, rule in cells]
    for number, (kind, start, shrink) in enumerate(rows):
        found = shares[number * len(rules) :][: len(rules)]
        sigma = "2 to 0.5" if shrink else "0.5"
        table.add_row(kind, f"{start:g} px", sigma, *(f"{share:.0%}" for share in found))
    return table


def read_digits(dilation: int | None, rule: Rule, make: Make, lr: float, seed: int) -> tuple[float, float, float]:
    """Train as the demo; return test accuracy, mean distance of units in pixels, and their share at the bound."""
    torch.manual_seed(seed)
    network = make_network(dilation)
    train(network, digits(train=True), rule(network, make, lr), epochs=15)
    layers = units_of(network)
    reach, bound = (
        torch.cat([getattr(layer, what).float() for layer in layers]).mean().item() if layers else float("nan")
        for what in ("distance", "at_bound")
    )
    return accuracy(network, digits(train=False)), reach, bound


def show_digits(seeds: list[int]) -> Table:
    """Return a table with rows by networks and rules, columns by optimizers of the weights."""
    table = Table(
        "network", *(f"{name} {what}" for name in CLASSES for what in ("accuracy", "reach", "at bound")), box=None
    )
    networks: list[tuple[str, int | None, Rule]] = [("3 x 3", 1, by_factor), ("3 x 3, dilation 4", 4, by_factor)]
    networks += [(f"units, {name}", None, rule) for name, rule in RULES.items()]
    for name, dilation, rule in track(networks, "digits"):
        cells: list[str] = []
        for make, lr in CLASSES.values():
            runs = [read_digits(dilation, rule, make, lr, seed) for seed in seeds]
            cells += _cells(*(statistics.mean(values) for values in zip(*runs, strict=True)))
        table.add_row(name, *cells)
    return table


def show_rates(seeds: list[int]) -> Table:
    """Return a table with rows by optimizers and rates of the weights: units that step in pixels beside the others."""
    others: dict[str, tuple[int | None, Rule]] = {
        "frozen": (None, frozen),
        "3 x 3": (1, by_factor),
        "dilation 4": (4, by_factor),
    }
    table = Table("optimizer", "rate", "accuracy", "reach", "at bound", *others, box=None)
    for (name, (make, _)), lr in track(list(itertools.product(CLASSES.items(), RATES)), "rates"):
        runs = [read_digits(None, in_pixels, make, lr, seed) for seed in seeds]
        cells = _cells(*(statistics.mean(values) for values in zip(*runs, strict=True)))
        for dilation, rule in others.values():
            cells.append(f"{statistics.mean(read_digits(dilation, rule, make, lr, seed)[0] for seed in seeds):.1%}")
        table.add_row(name, f"{lr:g}", *cells)
    return table


def _cells(right: float, reach: float, bound: float) -> list[str]:
    return [f"{right:.1%}", *(["", ""] if reach != reach else [f"{reach:.1f} px", f"{bound:.1%}"])]


def show_trained(files: Iterable[Path]) -> Table:
    """Return a table with rows by layers of checkpoints."""
    table = Table("checkpoint", "layer", "distance at the start", "now", "moved", "at bound", box=None)
    for file in files:
        layers, start = units_of(restore_network(file)), restore_start(file)
        if start is None:
            raise ValueError(f"files must be of trainings with seed_everything, got {file}: its start is not known.")
        for layer, before in zip(layers, units_of(start), strict=True):
            lengths = before.distance, layer.distance, moved(layer, before)
            cells = (f"{length.mean():.2f} px" for length in lengths)
            table.add_row(str(file), layer.name, *cells, f"{layer.at_bound.float().mean():.1%}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("teacher", "digits", "rates", "trained"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if bool(arguments.files) != (arguments.part == "trained"):
        parser.error("files are for trained, which needs some")
    torch.set_num_threads(arguments.threads)
    shows = {"teacher": show_teacher, "digits": show_digits, "rates": show_rates}
    table = show_trained(arguments.files) if arguments.files else shows[arguments.part](arguments.seeds)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
