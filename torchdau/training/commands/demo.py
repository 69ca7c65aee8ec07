"""The command ``torchdau demo``: a unit network and its convolutional twin on handwritten digits, side by side."""

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from rich.console import Console
from rich.table import Table
from torch.optim.lr_scheduler import MultiStepLR

from torchdau import init
from torchdau.analysis.plots import plot_displacements
from torchdau.conv import DAUConv2d
from torchdau.models import CIFARNet, cifarnet, dau_cifarnet
from torchdau.training.classification import Classification
from torchdau.training.commands.options import run
from torchdau.training.data.digits import DigitsData

NETWORK: dict[str, Any] = {"in_channels": 1, "image_size": 8, "widths": (32, 32, 64)}


@dataclass(frozen=True)
class Result:
    """What one network achieved."""

    name: str
    accuracy: float
    spatial_parameters: int
    parameters: int
    seconds: float
    checkpoint: Path


def main(args: Sequence[str]) -> None:
    """Runs the demo with the options of :func:`demo`."""
    run(demo, "demo", args)


def demo(output: Path = Path("runs/demo"), epochs: int = 15) -> None:
    """Trains a unit network and its convolutional twin on scikit-learn's digits; needs no download.

    Args:
        output: folder for the checkpoints and the picture of the learned displacements.
        epochs: passes over the 1,437 training images.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got epochs={epochs}.")
    console = Console()
    output.mkdir(parents=True, exist_ok=True)
    seed_everything(0, verbose=False)
    unit_network = dau_cifarnet(num_units=2, **NETWORK)
    for module in unit_network.modules():
        if isinstance(module, DAUConv2d):
            init.uniform_(module.displacement)
    results = [
        train("units", unit_network, output, epochs),
        train("3 x 3 twin", cifarnet(**NETWORK), output, epochs),
    ]
    table = Table("network", "test accuracy", "parameters in convolutions", "all parameters", "time")
    for result in results:
        table.add_row(
            result.name,
            f"{result.accuracy:.1%}",
            f"{result.spatial_parameters:,}",
            f"{result.parameters:,}",
            f"{result.seconds:.0f} s",
        )
    console.print(table)
    picture = output / "displacements.png"
    plot_displacements(unit_network).savefig(picture, dpi=150)
    console.print(f"learned displacements: {picture}", soft_wrap=True)
    for result in results:
        console.print(f"checkpoint of {result.name}: {result.checkpoint}", soft_wrap=True)


def train(name: str, network: CIFARNet, output: Path, epochs: int) -> Result:
    """Trains one network and measures it on the test set."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = DigitsData()
    schedule = partial(MultiStepLR, milestones=[max(1, epochs * 3 // 4)])
    # The paper's factor of 500 is for batches of 256 images; gradients of 32 digits are noisier.
    task = Classification(
        network, lr=0.01, displacement_lr=0.5, optimizer=partial(torch.optim.SGD, momentum=0.9), scheduler=schedule
    )
    checkpoint = ModelCheckpoint(dirpath=output, filename=name.replace(" ", "_"), enable_version_counter=False)
    trainer = Trainer(
        max_epochs=epochs,
        logger=False,
        callbacks=[checkpoint, RichProgressBar()],
        enable_model_summary=False,
        default_root_dir=output,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        start = time.perf_counter()
        trainer.fit(task, data)
        seconds = time.perf_counter() - start
        (metrics,) = trainer.test(task, data, verbose=False)
    return Result(
        name,
        metrics["test_accuracy"],
        sum(p.numel() for n, p in network.features.named_parameters() if p.ndim > 1),
        sum(p.numel() for p in network.parameters()),
        seconds,
        Path(checkpoint.best_model_path),
    )
