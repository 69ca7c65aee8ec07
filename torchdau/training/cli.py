"""The commands fit, validate, test and predict: Lightning's command line over this package's tasks and data."""

import os

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from torchdau.training.predictions import PredictionWriter


def main() -> None:
    """Runs the command in ``sys.argv``."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are about calls inside of Lightning
    LightningCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        trainer_defaults={"callbacks": [PredictionWriter()]},
        save_config_kwargs={"overwrite": True},
    )
