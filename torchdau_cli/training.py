"""The commands fit, validate, test and predict: Lightning's, whose arguments are looked at before it is imported."""

import sys
from collections.abc import Sequence
from pathlib import Path

HELP = {"-h", "--help", "--print_config"}


def main(command: str, options: Sequence[str]) -> None:
    """Run one of the commands.

    Raises:
        ValueError: there is no recipe, or no checkpoint, where one is needed.
    """
    args = arguments(command, list(options))
    if sys.stderr.isatty():
        sys.stderr.write("starting ...\n")  # importing Lightning takes seconds
    from torchdau.training import cli

    cli.main(command, args)


def arguments(command: str, options: list[str]) -> list[str]:
    """Return the options, with a checkpoint that comes first as ``--ckpt_path``.

    Raises:
        ValueError: nothing can be run with them.
    """
    if options and not options[0].startswith("-"):
        first = options[0]
        if Path(first).suffix in (".yaml", ".yml"):
            raise ValueError(f"a recipe is given as an option: torchdau {command} --config {' '.join(options)}")
        return ["--ckpt_path", *options]
    names = {option.partition("=")[0] for option in options}
    if names & HELP or any(name.endswith(".help") for name in names):
        return options
    if command != "fit" and "--ckpt_path" not in names:
        raise ValueError(f"a checkpoint is needed, as the first argument: torchdau {command} CHECKPOINT")
    recipe = any(name.startswith(("-c", "--config", "--ckpt_path", "--model")) for name in names)
    if command == "fit" and not recipe:
        raise ValueError("a recipe is needed: torchdau fit --config recipes/digits_dau.yaml")
    return options
