"""The commands fit, validate, test and predict: Lightning's, whose arguments are looked at before it is imported."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from torchdau_cli.files import check_checkpoint, packaged

RECIPES = packaged("recipes")
"""The recipes of the package."""

KEYWORDS = ("best", "hpc", "last", "registry")
"""Checkpoints that Lightning finds by itself."""

EXPLAINED = {"--help-all", "--print_config"}
"""Options of Lightning's command line that run nothing."""

KNOWN = EXPLAINED | {
    *("-c", "--config", "--ckpt_path", "--data", "--model", "--return_predictions"),
    *("--seed_everything", "--trainer", "--verbose", "--weights_only"),
}
"""Options without a dot."""

MEANT = {
    "--batch_size": "--data.init_args.batch_size",
    "--batch-size": "--data.init_args.batch_size",
    "--epochs": "--trainer.max_epochs",
    "--max_epochs": "--trainer.max_epochs",
    "--learning_rate": "--model.init_args.lr",
    "--lr": "--model.init_args.lr",
    "--lr_scheduler": "--model.init_args.scheduler",
    "--model.init_args.learning_rate": "--model.init_args.lr",
    "--optimizer": "--model.init_args.optimizer",
    "--pictures": "--data.init_args.pictures",
    "--root": "--data.init_args.root",
    "--seed": "--seed_everything",
    "--workers": "--data.init_args.num_workers",
}
"""Options that people try, and what they are called."""

SHORT = {
    "--device": "--trainer.accelerator",
    "--output": "--trainer.default_root_dir",
    "--tile": "--model.init_args.tile",
}
"""Options of the other commands, and what they are called here."""

USAGES = {
    "fit": (
        "train a network, or go on with a training",
        "torchdau fit --config RECIPE [OPTIONS]\n       torchdau fit CHECKPOINT [OPTIONS]",
    ),
    "validate": ("measure a checkpoint on the validation set", "torchdau validate CHECKPOINT [OPTIONS]"),
    "test": ("measure a checkpoint on the test set", "torchdau test CHECKPOINT [OPTIONS]"),
    "predict": (
        "write what a checkpoint predicts for its test set or for your pictures",
        "torchdau predict CHECKPOINT [PICTURES] [OPTIONS]",
    ),
}

FIT_OPTIONS = {
    "--config RECIPE": "YAML file; recipes/digits_dau.yaml and others are torchdau's own",
    "--trainer.max_epochs N": "epochs of the whole training; more than before to go on",
    "--output FOLDER": "folder of logs and checkpoints",
    "--model.init_args.lr RATE": "learning rate",
    "--print_config": "print all settings, as one recipe",
}

PREDICT_OPTIONS = {
    "PICTURES": "a folder of pictures, or one picture; default: the test set",
    "--output FOLDER": "folder of the predictions",
}

OPTIONS = {
    "--data.init_args.root FOLDER": "folder of the data; or set TORCHDAU_DATA",
    "--data.init_args.batch_size N": "images in a batch",
    "--data.init_args.num_workers N": "processes that read images",
    "--device cpu": "cpu, cuda, cuda:1, mps; chosen by itself",
    "--trainer.devices N": "number of GPUs or processes",
    "--trainer.precision bf16-mixed": "half precision",
}


def main(command: str, options: Sequence[str]) -> None:
    """Run one of the commands.

    Raises:
        ValueError: there is no recipe, or no checkpoint, where one is needed.
    """
    if {"-h", "--help"} & set(options):
        sys.stdout.write(usage(command))
        return
    args = arguments(command, list(options))
    if sys.stderr.isatty():
        sys.stderr.write("starting ...\n")  # importing Lightning takes seconds
    from torchdau.training import cli

    cli.main(command, args)


def usage(command: str) -> str:
    """Return a short help text of one of the commands."""
    what, how = USAGES[command]
    options = {"fit": FIT_OPTIONS, "predict": PREDICT_OPTIONS}.get(command, {}) | OPTIONS
    listing = "\n".join(f"  {option:35}{text}" for option, text in options.items())
    return (
        f"usage: {how}\n\n{what}\n\n{listing}\n\n"
        "Every key of a recipe is an option, with dots between its levels.\n"
        f"torchdau {command} --data.help torchdau.training.ImageFolderData lists the arguments of a class of data,\n"
        f"--model.help those of a task, and torchdau {command} --help-all all options of Lightning's trainer.\n"
    )


def arguments(command: str, options: list[str]) -> list[str]:
    """Return the options as Lightning takes them; a checkpoint that comes first is its ``--ckpt_path``.

    Raises:
        ValueError: nothing can be run with them.
    """
    if options and not options[0].startswith("-"):
        first = options[0]
        if Path(first).suffix in (".yaml", ".yml"):
            raise ValueError(f"a recipe is given as an option: torchdau {command} --config {' '.join(options)}")
        if Path(first).is_dir():
            after = f"Or: torchdau predict CHECKPOINT {first}" * (command == "predict")
            raise ValueError(f"the first argument must be a checkpoint, got the folder {first!r}. {after}".rstrip())
        if command == "fit" and not Path(first).exists():
            raise ValueError(
                f"{first!r} is no checkpoint, and a recipe is given as an option: torchdau fit --config RECIPE"
            )
        options = ["--ckpt_path", *options]
    if command == "predict" and len(options) > 2 and options[0] == "--ckpt_path" and not options[2].startswith("-"):
        options = [*options[:2], "--data.init_args.pictures", *options[2:]]
    options = _in_full(options)
    names = {option.partition("=")[0] for option in options if option.startswith("-")}
    for name in sorted(names - KNOWN):
        if meant := MEANT.get(name) or MEANT.get(name.partition(".")[0]):
            raise ValueError(f"options must be known, got {name!r}. You may mean {meant}.")
        if "." not in name and (near := get_close_matches(name, KNOWN, 1)):
            raise ValueError(f"options must be known, got {name!r}. Did you mean {near[0]!r}?")
    if names & EXPLAINED or any(name.endswith(".help") for name in names):
        return _with_recipes(["--help" if option == "--help-all" else option for option in options])
    if command != "fit" and "--ckpt_path" not in names:
        raise ValueError(f"a checkpoint is needed, as the first argument: torchdau {command} CHECKPOINT")
    recipe = any(name.startswith(("-c", "--config", "--ckpt_path", "--model")) for name in names)
    if command == "fit" and not recipe:
        raise ValueError("a recipe is needed: torchdau fit --config recipes/digits_dau.yaml")
    finder = ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--ckpt_path", nargs="?", const="")
    checkpoint = finder.parse_known_args(options)[0].ckpt_path
    if checkpoint is not None and checkpoint not in KEYWORDS:
        check_checkpoint(checkpoint)
    return _with_recipes(options)


def _in_full(options: Sequence[str]) -> list[str]:
    """Return options with Lightning's names; of a device such as ``cuda:1``, it takes kind and number apart."""
    full: list[str] = []
    for option in options:
        name, equals, value = option.partition("=")
        device = value if name == "--device" else option if full[-1:] == [SHORT["--device"]] else ""
        _, colon, number = device.partition(":")
        full.append((SHORT.get(name, name) + equals + value).removesuffix(colon + number))
        if colon:
            full.append(f"--trainer.devices=[{number}]")
    return full


def _with_recipes(options: Sequence[str]) -> list[str]:
    """Return options with the paths of recipes, which may be the package's own."""
    found: list[str] = []
    for option, before in zip([*options, ""], ["", *options], strict=True):
        name, equals, value = option.partition("=")
        if before in ("-c", "--config"):
            found.append(_recipe(option))
        elif name in ("-c", "--config") and equals:
            found.append(f"{name}={_recipe(value)}")
        else:
            found.append(option)
    return found[:-1]


def _recipe(path: str) -> str:
    """Return the path of a recipe; ``recipes/NAME.yaml`` is that of the package, unless the folder has one."""
    if Path(path).suffix == ".ckpt":
        raise ValueError(f"a checkpoint is given without --config: torchdau fit {path}")
    own = RECIPES / Path(path).name
    if Path(path).is_file():
        return path
    if Path(path).parent == Path("recipes") and own.is_file():
        return str(own)
    near = get_close_matches(own.name, sorted(file.name for file in RECIPES.glob("*.yaml")), 1)
    hint = f"Did you mean 'recipes/{near[0]}'?" if near else f"Those of torchdau are in {str(RECIPES)!r}."
    raise FileNotFoundError(f"a recipe must be a YAML file, got {path!r}, which is no file. {hint}")
