"""The command ``torchdau``: names the subcommands, starts one, and answers mistakes in a line."""

import importlib.metadata
import os
import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import NoReturn

COMMANDS = {
    "demo": "train a network with units beside two with convolutions on digits; downloads nothing",
    "fit": "train a recipe: torchdau fit --config recipes/digits_dau.yaml",
    "validate": "measure a checkpoint on the validation set: torchdau validate CHECKPOINT",
    "test": "measure a checkpoint on the test set: torchdau test CHECKPOINT",
    "predict": "write what a checkpoint predicts: torchdau predict CHECKPOINT",
    "report": "write a page about a checkpoint: torchdau report CHECKPOINT [--compare OTHER]",
    "plot": "draw what units learned: torchdau plot CHECKPOINT displacements",
    "prune-curve": "measure a checkpoint without its weak units: torchdau prune-curve CHECKPOINT",
    "deblur": "sharpen blurred pictures: torchdau deblur PICTURES --output FOLDER",
    "blur": "make pairs to train deblurring on: torchdau blur FOLDER --output FOLDER",
    "parameters": "count units and parameters of the paper's networks",
    "env": "show versions and which native kernels are in use",
}

LIGHTNING = ("fit", "validate", "test", "predict")
"""Subcommands of Lightning's command line; the others have a file in this folder."""

EXTRAS = {
    *("PIL", "altair", "jinja2", "jsonargparse", "lightning", "matplotlib", "numpy", "rich", "safetensors", "scipy"),
    *("sklearn", "tensorboard", "timm", "torchmetrics", "torchvision", "vl_convert", "yaml"),
}
"""Modules that the extras ``train`` and ``plots`` bring."""

MISTAKES = (OSError, ValueError, FloatingPointError)
"""Errors that the user can mend. Their message is enough; where they were raised is shown with ``--debug``."""


def main() -> None:
    """Run the command in ``sys.argv``.

    Raises:
        SystemExit: with 1 after a user's mistake, 130 after Ctrl-C.
    """
    args = _trusting([arg for arg in sys.argv[1:] if arg != "--debug"])
    debug = "--debug" in sys.argv[1:] or os.environ.get("TORCHDAU_DEBUG") == "1"
    command, *options = args or ["--help"]
    if command == "help":
        command, options = (options[0], ["--help"]) if options else ("--help", [])
    if command in ("-h", "--help"):
        sys.stdout.write(_usage())
    elif command == "--version":
        sys.stdout.write(f"torchdau {importlib.metadata.version('torchdau')}\n")
    elif command not in COMMANDS:
        near = get_close_matches(command, [*COMMANDS, "--version", "--help"], 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"The commands are {', '.join(COMMANDS)}."
        _stop("", f"unknown command {command!r}. {hint}")
    else:
        _run(command, options, debug)


def _run(command: str, options: Sequence[str], debug: bool) -> None:
    try:
        _function(command)(options)
    except KeyboardInterrupt:
        sys.stderr.write(f"torchdau {command}: stopped\n")
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if debug or package not in EXTRAS:
            raise
        _stop(command, f'{package} is missing. From the folder of torchdau, run: pip install ".[train,plots]"')
    except MISTAKES as error:
        if debug:
            raise
        _stop(command, _innermost(str(error)))


def _trusting(args: list[str]) -> list[str]:
    """Return the arguments without ``--trust MODULE``, whose modules checkpoints may then name."""
    parser = ArgumentParser(prog="torchdau", add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--trust", action="append", default=[])
    try:
        given, others = parser.parse_known_args(args)
    except ArgumentError as error:
        _stop("", f"{error}: the name of a module")
    if given.trust:
        os.environ["TORCHDAU_TRUST"] = ",".join([*filter(None, [os.environ.get("TORCHDAU_TRUST")]), *given.trust])
    return others


def _function(command: str) -> Callable[[Sequence[str]], None]:
    if command in LIGHTNING:
        from torchdau_cli import training

        return partial(training.main, command)
    run: Callable[[Sequence[str]], None] = import_module(f"torchdau_cli.{command.replace('-', '_')}").main
    return run


def _usage() -> str:
    listing = "\n".join(f"  {name:13}{text}" for name, text in COMMANDS.items())
    return (
        f"usage: torchdau COMMAND [OPTIONS]\n\n{listing}\n\n"
        "torchdau COMMAND --help describes a command, torchdau --version prints the version, and --debug with any\n"
        "command shows where an error was raised. --trust MODULE lets checkpoints name classes of your own module.\n"
    )


def _innermost(message: str) -> str:
    """Return a message without the traceback of a process that reads images."""
    if message.startswith("Caught ") and "Original Traceback" in message:
        return message.rstrip().rpartition("\n")[2].partition(": ")[2]
    return message


def _stop(command: str, message: str) -> NoReturn:
    """End the program with a line on stderr and exit code 1."""
    sys.exit(f"torchdau{command and ' '}{command}: {' '.join(message.split())}")
