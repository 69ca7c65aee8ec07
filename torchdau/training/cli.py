"""The commands fit, validate, test and predict: Lightning's command line for the tasks and data of this package."""

import os
import shlex
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

from torchdau.training.checkpoint_files import CheckpointFiles
from torchdau.training.checkpoints import read_checkpoint
from torchdau.training.data.faults import name_failures
from torchdau.training.interrupts import Interruptible
from torchdau.training.messages import Bar, Messages, say_scores, say_that_nothing_was_left, say_what_is_next, silence
from torchdau.training.parsing import Parser
from torchdau.training.restoring import configuration
from torchdau.training.trust import check_trust, only_trusted, only_weights, trust_options

LOGGERS = (
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.CSVLogger",
    "torchdau.training.CSVLogger",
)
"""The loggers of the recipes, and of older ones."""


class SaveConfig(SaveConfigCallback):
    """Callback that saves a run's configuration beside its logs, as Lightning does, and in its checkpoints."""

    pretrained: str | bool | None = None
    """Checkpoint from which the training started, or True for weights of timm; also known after a resume."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the checkpoint from which a resumed training had started."""
        self.pretrained = checkpoint.get("pretrained")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration as YAML, so that the checkpoint alone is enough to rebuild the network."""
        config = self.config.clone()
        task: Any = config.model.init_args
        network: Any = (task.get("network") or {}).get("init_args") or {}
        downloaded = network.get("pretrained") is True
        self.pretrained = task.get("pretrained") or downloaded or self.pretrained
        if self.pretrained:
            checkpoint["pretrained"] = self.pretrained
        if task.get("pretrained"):
            task.pretrained = None  # this checkpoint already has its weights
        if downloaded:
            network.pretrained = False
        checkpoint["config"] = self.parser.dump(config, skip_none=False)


class CommandLine(LightningCLI):
    """Lightning's command line with torchdau's defaults."""

    def _parse_ckpt_path(self) -> None:
        """Take nothing from a checkpoint but its configuration; Lightning would make whatever class it names."""

    def before_instantiate_classes(self) -> None:
        """Log only in ``fit``, keep no predictions in memory, and resume a run in its own folder."""
        if self.subcommand == "fit":
            self._place_logs(self.config.fit)
        else:
            self.config[self.subcommand].trainer.logger = False  # results are printed, so no log folder is needed
        if self.subcommand in ("validate", "test"):
            self.config[self.subcommand].verbose = False  # the scores are printed below
        if self.subcommand == "predict":
            self.config.predict.return_predictions = False  # they are written to files, and may not fit into memory

    @staticmethod
    def _place_logs(config: Any) -> None:
        """Put logs into ``default_root_dir``, and those of a resumed run into its own folder."""
        loggers = config.trainer.logger if isinstance(config.trainer.logger, list) else []
        loggers = [logger for logger in loggers if logger.class_path in LOGGERS]
        for logger in loggers:
            logger.init_args.save_dir = config.trainer.default_root_dir or logger.init_args.save_dir
        checkpoint = Path(config.ckpt_path or "")
        run = checkpoint.absolute().parent.parent
        folders = {Path(logger.init_args.save_dir, logger.init_args.name or "").absolute() for logger in loggers}
        if checkpoint.name in ("last.ckpt", "error.ckpt") and run.parent in folders:
            for logger in loggers:
                logger.init_args.version = run.name  # the best checkpoint stays known

    def after_predict(self) -> None:
        """Name the pictures that could not be read, and end with exit code 1 if there are some."""
        dataset: Any = getattr(self.trainer.predict_dataloaders, "dataset", None)
        if unreadable := getattr(dataset, "unreadable", None):
            raise ValueError(name_failures(unreadable, len(dataset)))

    def after_test(self) -> None:
        """Print the scores."""
        say_scores(self.trainer)

    after_validate = after_test

    def before_fit(self) -> None:
        """Remember the time."""
        self.start = time.monotonic()

    def after_fit(self) -> None:
        """Print the time, the path of the best checkpoint and the next command."""
        trainer: Any = self.trainer
        starts = (each.first for each in trainer.callbacks if isinstance(each, Interruptible))
        if {*starts} <= {None, trainer.global_step}:
            say_that_nothing_was_left()
        say_what_is_next(trainer, time.monotonic() - self.start, trust_options(self.config.fit.as_dict()))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return Lightning's trainer, with checkpoints written completely and a progress bar of at most 80 columns."""
        plugins = self._get(self.config_init, "trainer").plugins
        given = plugins if isinstance(plugins, list) else [plugins] if plugins else []
        own = self._get(self.config_init, "trainer").callbacks
        has_bar = any(isinstance(callback, RichProgressBar) for callback in (own if isinstance(own, list) else [own]))
        trainer: Any = super().instantiate_trainer(plugins=[CheckpointFiles(), *given], **kwargs)  # fills this list
        if not has_bar:
            trainer.callbacks = [Bar() if type(each) is RichProgressBar else each for each in trainer.callbacks]
        return trainer


class OfCheckpoint(CommandLine):
    """The command line with the configuration of a checkpoint."""

    def instantiate_classes(self) -> None:
        """Make the classes that the checkpoint names; files that they open run no code."""
        with only_weights():
            super().instantiate_classes()


def main(command: str, options: Sequence[str]) -> None:
    """Run a subcommand.

    Without ``--config``, the checkpoint in ``--ckpt_path`` provides the configuration of its run.

    Args:
        command: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.
        options: command-line options after the subcommand.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ValueError: the file is not a checkpoint of ``torchdau fit``, or the options do not fit together.
        FloatingPointError: a training has reached numbers that are not finite.
        SystemExit: with 128 plus the signal's number if a signal ended the command.
    """
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # the warnings are about Lightning's own code
    silence()
    sys.argv[1:] = [command, *options]  # Lightning reads sys.argv
    finder = ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--ckpt_path")
    finder.add_argument("-c", "--config")
    given = finder.parse_known_args(list(options))[0]
    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        if given.ckpt_path and not given.config and (command != "fit" or Path(given.ckpt_path).suffix == ".ckpt"):
            saved = configuration(read_checkpoint(given.ckpt_path), given.ckpt_path)
            check_trust(saved, given.ckpt_path)
            if command != "fit" and isinstance(saved.get("trainer"), dict):
                saved["trainer"].pop("profiler", None)  # it would write into a folder of the training
            config.write_text(yaml.safe_dump(saved))
        stopping = Interruptible()
        try:
            with only_trusted() if config.exists() else nullcontext():
                (OfCheckpoint if config.exists() else CommandLine)(
                    LightningModule,
                    LightningDataModule,
                    trainer_defaults={"callbacks": [stopping, Messages()], "enable_model_summary": False},
                    save_config_callback=SaveConfig if command == "fit" else None,
                    save_config_kwargs={"overwrite": True},
                    subclass_mode_model=True,
                    subclass_mode_data=True,
                    parser_class=Parser,
                    parser_kwargs={
                        "prog": "torchdau",
                        "allow_abbrev": False,
                        **{name: {"default_config_files": [str(config)]} for name in CommandLine.subcommands()},
                    },
                )
        except Exception as error:
            if stopping.checkpoint:
                sys.stderr.write(f"torchdau fit: the training until the error is in {stopping.checkpoint}\n")
            if isinstance(error, MisconfigurationException):
                raise ValueError(str(error)) from error
            if str(error).startswith("Error(s) in loading state_dict"):
                first = str(error).partition("\n")[2].strip().partition("\n")[0]
                raise ValueError(
                    f"the checkpoint must be of the network of these settings, got another: {first}"
                ) from error
            if str(error).startswith("Does not validate") and isinstance(error.__cause__, ValueError):
                raise error.__cause__ from None  # the message of the class alone
            raise
        except SystemExit as end:
            number = signal.SIGINT if isinstance(end.__context__, KeyboardInterrupt) else stopping.number
            if number and stopping.checkpoint:
                trust = trust_options(configuration(read_checkpoint(stopping.checkpoint), stopping.checkpoint))
                command = f"torchdau fit {shlex.quote(str(stopping.checkpoint))}{trust}"
                sys.stderr.write(f"torchdau fit: stopped. Go on with: {command}\n")
            sys.exit(128 + number if number else end.code)
