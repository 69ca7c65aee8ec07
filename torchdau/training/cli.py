"""The commands fit, validate, test and predict: Lightning's command line over this package's tasks and data."""

import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

from torchdau.training.checkpoint_files import CheckpointFiles
from torchdau.training.checkpoints import read_checkpoint
from torchdau.training.interrupts import Interruptible
from torchdau.training.messages import Bar, Messages, say_what_is_next, silence
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
    """Lightning's, with defaults of our own."""

    def before_instantiate_classes(self) -> None:
        """Keeps no predictions, logs trainings only, and goes on in the folder of a run that is resumed."""
        if self.subcommand != "fit":
            self.config[self.subcommand].trainer.logger = False  # results are printed; no folder for logs
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

    def after_fit(self) -> None:
        """Says where the checkpoint is, and the next command."""
        say_what_is_next(self.trainer)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Lightning's trainer, with files that are whole and a progress bar that fits a terminal."""
        plugins = self._get(self.config_init, "trainer").plugins
        given = plugins if isinstance(plugins, list) else [plugins] if plugins else []
        trainer: Any = super().instantiate_trainer(plugins=[CheckpointFiles(), *given], **kwargs)
        trainer.callbacks = [Bar() if type(callback) is RichProgressBar else callback for callback in trainer.callbacks]
        return trainer


def main(command: str, options: Sequence[str]) -> None:
    """Run a subcommand; without ``--config``, a checkpoint brings the configuration that made it.

    Args:
        command: fit, validate, test or predict.
        options: what the user gave.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: the file is not a checkpoint of ``torchdau fit``, or what the user gave does not fit together.
        FloatingPointError: a training has come to numbers that are not finite.
        SystemExit: with 128 and the number of a signal that ended the command.
    """
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are about calls inside of Lightning
    silence()
    sys.argv[1:] = [command, *options]  # Lightning reads them there
    finder = ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--ckpt_path")
    finder.add_argument("-c", "--config")
    given = finder.parse_known_args(list(options))[0]
    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        if given.ckpt_path and not given.config and Path(given.ckpt_path).suffix == ".ckpt":  # else "last", or a URL
            config.write_text(read_checkpoint(given.ckpt_path).get("config", ""))
        stopping = Interruptible()
        try:
            CommandLine(
                LightningModule,
                LightningDataModule,
                trainer_defaults={"callbacks": [stopping, Messages()], "enable_model_summary": False},
                save_config_callback=SaveConfig if command == "fit" else None,
                save_config_kwargs={"overwrite": True},
                subclass_mode_model=True,
                subclass_mode_data=True,
                parser_class=Parser,
                parser_kwargs={
                    "allow_abbrev": False,
                    **{name: {"default_config_files": [str(config)]} for name in CommandLine.subcommands()},
                },
            )
        except MisconfigurationException as error:
            raise ValueError(str(error)) from error
        except ValueError as error:
            if str(error).startswith("Does not validate") and isinstance(error.__cause__, ValueError):
                raise error.__cause__ from None  # what a class says, and not that it could have been None
            raise
        except SystemExit as end:
            number = signal.SIGINT if isinstance(end.__context__, KeyboardInterrupt) else stopping.number
            if number and stopping.checkpoint:
                sys.stderr.write(f"torchdau fit: stopped. Go on with: torchdau fit {stopping.checkpoint}\n")
            sys.exit(128 + number if number else end.code)
