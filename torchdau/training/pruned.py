"""Trained networks without their weak units, measured on their test sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor, nn

from torchdau.analysis.pruning import forward_times, pruned_models
from torchdau.training.messages import Bar, silence
from torchdau.training.restoring_tasks import restore_data, restore_task


def measured(checkpoint: Path, thresholds: Sequence[float], repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """Measure one network at each threshold, and return one row of numbers for each."""
    silence()
    task, data = restore_task(checkpoint), restore_data(checkpoint)
    steps = pruned_models(cast("nn.Module", task.network), thresholds)
    trainer = Trainer(
        accelerator=device.type,
        devices=1 if device.index is None or device.type == "cpu" else [device.index],
        logger=False,
        enable_checkpointing=False,
        callbacks=[Bar()],
        enable_model_summary=False,
    )
    rows: list[dict[str, Any]] = []
    for step in steps:
        task.network = step.model
        (metrics,) = trainer.test(task, data, verbose=False)
        rows.append(
            {
                "threshold": step.threshold,
                **{name.removeprefix("test_"): value for name, value in metrics.items()},
                "units": step.units,
                "removed": step.removed,
                "parameters": step.parameters,
                "file_size": step.file_size,
            }
        )
    if repeats:
        images = first_images(data)
        models = [step.model.cpu().eval() for step in steps]
        for name, batch in {"seconds_one_image": images[:1], "seconds_batch": images}.items():
            for row, seconds in zip(rows, forward_times(models, batch, repeats), strict=True):
                row[name] = seconds
    return rows


def first_images(data: LightningDataModule) -> Tensor:
    """Return the first batch of the test set, as the network sees it."""
    images: Tensor = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)[0]
    return images
