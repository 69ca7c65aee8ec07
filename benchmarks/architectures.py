"""Conversion of every convolutional architecture of timm and torchvision.

    uv run python benchmarks/architectures.py [--csv FILE] [--markdown FILE] [--only NAME ...]

Converts the smallest variant of each family of timm (a module of timm.models), and torchvision's models for
classification and segmentation, by default options. The output must keep its shape, and output and gradients must be
finite.
"""

import argparse
import csv
import logging
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import timm
import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from torchdau import DAUConv2d, convert_, convolutions

COLUMNS = ("family", "model", "input", "converted", "left", "parameters before", "parameters after", "result")
SIZES = (64, 96, 128, 224)
Row = dict[str, str]


def parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in model.parameters())


def smallest(family: str) -> list[str]:
    """Return the variants of a family of timm, the smallest first; variants that fail on the meta device come last."""
    sizes = {}
    for name in timm.list_models(module=family):
        try:
            with torch.device("meta"):
                sizes[name] = parameters(timm.create_model(name))
        except (RuntimeError, NotImplementedError, TypeError, ValueError):
            sizes[name] = 10**12
    return sorted(sizes, key=lambda name: sizes[name])


def outputs(result: object) -> list[Tensor]:
    """Return all tensors in a model's output."""
    if isinstance(result, Tensor):
        return [result]
    values = result.values() if isinstance(result, dict) else result if isinstance(result, list | tuple) else []
    return [tensor for value in values for tensor in outputs(value)]


def input_for(model: nn.Module, sizes: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    """Return the smallest image that the model takes, and its outputs."""
    for size in sizes:
        image = torch.randn(2, 3, size, size)
        try:
            with torch.no_grad():
                return image, outputs(model(image))
        except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError):
            if size == sizes[-1]:
                raise
    raise AssertionError


def check(family: str, name: str, make: Callable[[], nn.Module], sizes: tuple[int, ...]) -> Row:
    """Convert a model, check it, and return its row of the table."""
    row = dict.fromkeys(COLUMNS, "") | {"family": family, "model": name}
    torch.manual_seed(0)
    model = make().eval()
    found = convolutions(model)
    spatial = [c for c in found if "1 x 1" not in c.reason]
    row["left"] = "; ".join(
        f"{count} x {reason}" for reason, count in Counter(c.reason for c in spatial if c.reason).items()
    )
    row["parameters before"] = f"{parameters(model):,}"
    if not any(not c.reason for c in spatial):
        row["result"] = "its convolutions stay" if spatial else "no spatial convolution"
        return row
    image, before = input_for(model, sizes)
    row["input"] = str(image.shape[-1])
    convert_(model)
    row["converted"] = str(sum(isinstance(module, DAUConv2d) for module in model.modules()))
    row["parameters after"] = f"{parameters(model):,}"
    model.train()
    after = outputs(model.eval()(image))
    if [t.shape for t in after] != [t.shape for t in before]:
        row["result"] = f"shapes {[tuple(t.shape) for t in after]} for {[tuple(t.shape) for t in before]}"
        return row
    loss = sum((t.float().square().mean() for t in after if t.requires_grad), torch.zeros(()))
    loss.backward()
    layers = [module for module in model.modules() if isinstance(module, DAUConv2d)]
    grads = [p.grad for layer in layers for p in (layer.weight, layer.displacement) if p.grad is not None]
    finite = all(t.isfinite().all() for t in (*after, *grads))
    used = sum(layer.weight.grad is not None for layer in layers)
    row["result"] = "passed" if finite and used else "not finite" if used else "no gradient"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", help="write the table to this file as well, after each row")
    parser.add_argument("--markdown", help="the same as a page of the docs")
    parser.add_argument("--only", nargs="*", help="names of families, or of models of torchvision")
    options = parser.parse_args()
    torch.set_num_threads(2)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    vision, segmentation = torchvision.models, torchvision.models.segmentation
    tasks: list[tuple[str, Callable[[], Row]]] = [
        *((name, partial(of_timm, name)) for name in timm.list_modules()),
        *((name, partial(of_torchvision, "torchvision", name)) for name in vision.list_models(vision)),
        *((name, partial(of_torchvision, "segmentation", name)) for name in vision.list_models(segmentation)),
    ]
    rows = []
    for name, task in track(tasks, "architectures"):
        if options.only and name not in options.only:
            continue
        try:
            rows.append(task())
        except Exception as error:  # an error must not keep the others from being checked
            message = str(error).splitlines()[0] if str(error) else ""
            rows.append(
                dict.fromkeys(COLUMNS, "") | {"family": name, "result": f"{type(error).__name__}: {message}"[:90]}
            )
        if options.csv:
            with open(options.csv, "w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*(row[column] for column in COLUMNS))
    Console().print(table)
    print(summary(rows))
    if options.markdown:
        Path(options.markdown).write_text(page(rows))


def summary(rows: list[Row]) -> str:
    """Return in a sentence how many models passed."""
    results = Counter(row["result"] for row in rows)
    stay = results["its convolutions stay"]
    convert = len(rows) - stay - results["no spatial convolution"]
    return (
        f"{results['passed']} of {convert} models pass. {stay} more have only convolutions that stay unless they are "
        "selected, such as the patch embedding of a vision transformer."
    )


def page(rows: list[Row]) -> str:
    """Return the table as a page of the docs."""
    versions = f"timm {timm.__version__}, torchvision {torchvision.__version__}, {date.today()}:"
    meaning = "A model passes if its output keeps its shape, and output and gradients are finite."
    models = "The table has the smallest variant of each family of timm, and torchvision's models."
    lines = COLUMNS, ["---"] * len(COLUMNS), *(row.values() for row in rows)
    head = (
        "# Architectures that convert",
        f"Converted with the defaults of `convert_`, {summary(rows)}",
        f"{models} {meaning}",
        versions,
        "    uv run python benchmarks/architectures.py --markdown docs/architectures.md",
        "\n".join(f"| {' | '.join(line)} |" for line in lines),
    )
    return "\n\n".join(head) + "\n"


def of_timm(family: str) -> Row:
    """Check the smallest variant of a family of timm."""
    name = smallest(family)[0]
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    own = (config.input_size if config else (3, 224, 224))[-1]
    sizes = (own,) if config and config.fixed_input_size else (*(s for s in SIZES if s < own), own)
    return check(family, name, partial(timm.create_model, name), sizes)


def of_torchvision(family: str, name: str) -> Row:
    """Check a model of torchvision."""
    arguments = {"weights_backbone": None} if family == "segmentation" else {}
    return check(family, name, partial(torchvision.models.get_model, name, weights=None, **arguments), SIZES)


if __name__ == "__main__":
    main()
