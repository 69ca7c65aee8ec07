"""The commands fit, validate, test and predict: Lightning's command line over this package's tasks and data."""

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI


def main() -> None:
    """Runs the command in ``sys.argv``."""
    LightningCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_kwargs={"overwrite": True},
    )
