"""The command ``torchdau``: names the commands and starts the one that was asked for."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

COMMANDS = {
    "demo": "train a unit network and its convolutional twin on digits; needs no data",
    "fit": "train a recipe: torchdau fit --config recipes/digits_dau.yaml",
    "validate": "measure a checkpoint on the validation set",
    "test": "measure a checkpoint on the test set",
    "predict": "write what a checkpoint predicts",
    "parameters": "units and parameters of the paper's networks",
    "prune-curve": "what a checkpoint keeps as its weak units go: torchdau prune-curve CHECKPOINT",
    "plot": "a picture of what units learned: torchdau plot displacements CHECKPOINT",
    "report": "a page about a checkpoint: torchdau report CHECKPOINT [--compare OTHER]",
    "deblur": "sharp pictures from blurred ones: torchdau deblur PATH ... --checkpoint FILE --output DIR",
    "blur": "pairs to train deblurring on: torchdau blur FOLDER --output DIR",
    "env": "versions, and which native kernels serve",
}

OWN = ("demo", "parameters", "prune-curve", "plot", "report", "deblur", "blur")
"""Commands with a file in training/commands; the others are Lightning's."""


def main() -> None:
    """Runs the command in ``sys.argv``."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command not in COMMANDS:
        listing = "\n".join(f"  {name:13}{text}" for name, text in COMMANDS.items())
        text = f"usage: torchdau COMMAND [--help]\n\n{listing}\n"
        if command in ("-h", "--help"):
            sys.stdout.write(text)
            return
        sys.exit(f"torchdau: COMMAND must be one of {', '.join(COMMANDS)}, got {command!r}.\n\n{text}")
    if command == "env":
        from torchdau import environment

        environment.main()
        return
    try:
        run = _command(command)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("torchdau"):
            raise
        sys.exit(f'torchdau {command}: {error.name} is missing. Install it with: pip install "torchdau[train,plots]"')
    if command not in OWN:
        run(sys.argv[2:])  # Lightning's
        return
    try:
        run(sys.argv[2:])
    except (OSError, ValueError) as error:
        sys.exit(f"torchdau {command}: {error}")


def _command(name: str) -> Callable[[Sequence[str]], None]:
    """The function of a command; each imports what it needs."""
    if name in OWN:
        run: Callable[[Sequence[str]], None] = import_module(
            f"torchdau.training.commands.{name.replace('-', '_')}"
        ).main
        return run
    from torchdau.training import cli

    return lambda args: cli.main()


if __name__ == "__main__":
    main()
