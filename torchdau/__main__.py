"""The command ``torchdau``: names the commands and starts the one that was asked for."""

import sys

COMMANDS = {
    "demo": "train a unit network and its convolutional twin on digits; needs no data",
    "fit": "train a recipe: torchdau fit --config recipes/digits_dau.yaml",
    "validate": "measure a checkpoint on the validation set",
    "test": "measure a checkpoint on the test set",
    "predict": "write what a checkpoint predicts",
    "prune-curve": "what a checkpoint keeps as its weak units go: torchdau prune-curve CHECKPOINT",
    "env": "versions, and which native kernels serve",
}


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
        from torchdau.training import cli, demo, prune_curve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("torchdau"):
            raise
        sys.exit(f'torchdau {command}: {error.name} is missing. Install it with: pip install "torchdau[train,plots]"')
    own = {"demo": demo.main, "prune-curve": prune_curve.main}
    if command not in own:
        cli.main()
        return
    try:
        own[command](sys.argv[2:])
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"torchdau {command}: {error}")


if __name__ == "__main__":
    main()
