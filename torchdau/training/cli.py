"""The commands fit, validate, test and predict: Lightning's command line over this package's tasks and data."""

import os
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

from torchdau.training.checkpoints import CheckpointFiles, read_checkpoint
from torchdau.training.interrupts import Interruptible
from torchdau.training.parsing import Parser


class SaveConfig(SaveConfigCallback):
    """Writes the configuration of a run beside its logs, as Lightning's does, and into its checkpoints."""

    pretrained: str | None = None
    """The checkpoint that the training started from, or that which it resumes did."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remembers where a training that is resumed had started from."""
        self.pretrained = checkpoint.get("pretrained")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the configuration as YAML, so that a checkpoint tells what it is of."""
        config = self.config.clone()
        self.pretrained = config.model.init_args.get("pretrained") or self.pretrained
        if self.pretrained:
            checkpoint["pretrained"] = self.pretrained
            config.model.init_args.pretrained = None  # its weights are in this checkpoint
        checkpoint["config"] = self.parser.dump(config, skip_none=False)


class CommandLine(LightningCLI):
    """Lightning's, which would also measure the random weights of a new network."""

    def before_instantiate_classes(self) -> None:
        """Refuses to measure or predict without a checkpoint; keeps no predictions; goes on in the folder of a run."""
        if self.subcommand != "fit" and self.config[self.subcommand].ckpt_path is None:
            self.parser.error(f"--ckpt_path must name a checkpoint for {self.subcommand}, got none.")
        if self.subcommand == "predict":
            self.config.predict.return_predictions = False  # they are written; all in memory may be too many
        if self.subcommand == "fit" and self.config.fit.ckpt_path:
            checkpoint, loggers = Path(self.config.fit.ckpt_path), self.config.fit.trainer.logger
            for logger in loggers if isinstance(loggers, list) else []:
                if (
                    logger.class_path == "lightning.pytorch.loggers.TensorBoardLogger"
                    and checkpoint.name == "last.ckpt"
                ):
                    version = checkpoint.parent.parent
                    if version.parent.absolute() == Path(logger.init_args.save_dir, logger.init_args.name).absolute():
                        logger.init_args.version = version.name  # so that the best checkpoint stays known

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Lightning's trainer, with files that are whole."""
        plugins = self._get(self.config_init, "trainer").plugins
        given = plugins if isinstance(plugins, list) else [plugins] if plugins else []
        return super().instantiate_trainer(plugins=[CheckpointFiles(), *given], **kwargs)


def main() -> None:
    """Runs the command in ``sys.argv``; without ``--config``, a checkpoint brings the configuration that made it."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are about calls inside of Lightning
    finder = ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--ckpt_path")
    finder.add_argument("-c", "--config")
    given = finder.parse_known_args()[0]
    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        if given.ckpt_path and not given.config and Path(given.ckpt_path).suffix == ".ckpt":  # else "last", or a URL
            try:
                config.write_text(read_checkpoint(given.ckpt_path).get("config", ""))
            except (FileNotFoundError, ValueError) as error:
                sys.exit(f"--ckpt_path: {error}")
        stopping = Interruptible()
        try:
            CommandLine(
                LightningModule,
                LightningDataModule,
                trainer_defaults={"callbacks": [stopping]},
                save_config_callback=SaveConfig,
                save_config_kwargs={"overwrite": True},
                subclass_mode_model=True,
                subclass_mode_data=True,
                parser_class=Parser,
                parser_kwargs={
                    "allow_abbrev": False,
                    **{name: {"default_config_files": [str(config)]} for name in CommandLine.subcommands()},
                },
            )
        except FloatingPointError as error:
            sys.exit(f"torchdau fit: {error}")
        except SystemExit as end:
            number = signal.SIGINT if isinstance(end.__context__, KeyboardInterrupt) else stopping.number
            sys.exit(128 + number if number else end.code)
