"""The commands fit, validate, test and predict: Lightning's command line over this package's tasks and data."""

import os

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from torchdau.training.predictions import PredictionWriter


class CommandLine(LightningCLI):
    """Lightning's, which would also measure the random weights of a new network."""

    def before_instantiate_classes(self) -> None:
        """Refuses to measure or predict without a checkpoint."""
        if self.subcommand != "fit" and self.config[self.subcommand].ckpt_path is None:
            self.parser.error(f"--ckpt_path must name a checkpoint for {self.subcommand}, got none.")


def main() -> None:
    """Runs the command in ``sys.argv``."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are about calls inside of Lightning
    CommandLine(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        trainer_defaults={"callbacks": [PredictionWriter()]},
        save_config_kwargs={"overwrite": True},
    )
