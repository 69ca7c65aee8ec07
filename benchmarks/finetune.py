"""Accuracy of a trained network after its convolutions become units, and after one more epoch.

    uv run python benchmarks/finetune.py [--epochs N] [--seeds N]

Trains a small CIFAR network with 3 x 3 kernels on scikit-learn's digits. Converts it with 1, 2 and 4 units, fitted to
its kernels or new. Prints test accuracy at once and after one more epoch, as means over the seeds.
"""

import argparse
import copy
import logging
import statistics
import warnings
from functools import partial

import torch
from lightning import Trainer, seed_everything
from rich.console import Console
from rich.progress import track
from rich.table import Table

from torchdau import convert_
from torchdau.models import CIFARNet, cifarnet
from torchdau.training import Classification, DigitsData

UNITS = (1, 2, 4)
Results = dict[tuple[str, str], list[float]]


def accuracy(network: CIFARNet, epochs: int) -> float:
    """Return the test accuracy after this many epochs of training."""
    sgd = partial(torch.optim.SGD, momentum=0.9)
    task = Classification(network, lr=0.01, displacement_lr=0.01, optimizer=sgd)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DigitsData()
    if epochs:
        trainer.fit(task, data)
    (metrics,) = trainer.test(task, data, verbose=False)
    return float(metrics["test_accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15, help="of the training before the conversion")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(2)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    results: Results = {}
    for seed in track(range(options.seeds), "seeds", transient=True):
        seed_everything(seed, verbose=False)
        network = cifarnet(in_channels=1, image_size=8, widths=(32, 32, 64))
        trained = accuracy(network, options.epochs)
        results.setdefault(("3 x 3", "trained"), []).append(trained)
        results.setdefault(("3 x 3", "one epoch later"), []).append(accuracy(copy.deepcopy(network), 1))
        for units in UNITS:
            for init in ("fit", "uniform"):
                converted = convert_(copy.deepcopy(network), units, init=init)
                name = f"{units} units, init={init!r}"
                results.setdefault((name, "trained"), []).append(accuracy(converted, 0))
                results.setdefault((name, "one epoch later"), []).append(accuracy(converted, 1))
    table = Table("network", "test accuracy", "after one epoch")
    for name in dict.fromkeys(name for name, _ in results):
        table.add_row(name, *(f"{statistics.mean(results[name, when]):.1%}" for when in ("trained", "one epoch later")))
    Console().print(table)


if __name__ == "__main__":
    main()
