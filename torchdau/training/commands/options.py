"""How a function becomes a command: its arguments are the options."""

from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import ArgumentParser


def run(function: Callable[..., None], name: str, args: Sequence[str], **positionals: dict[str, Any]) -> None:
    """Runs a function with the options that a user gave.

    Args:
        function: its docstring describes the options.
        name: of the command.
        args: what the user gave.
        **positionals: arguments of the function that have no ``--name``, as ``add_argument`` of argparse takes them.
    """
    description = (function.__doc__ or "").partition("\n")[0]
    parser = ArgumentParser(prog=f"torchdau {name}", description=description, allow_abbrev=False)
    for key, options in positionals.items():
        parser.add_argument(key, **options)
    parser.add_function_arguments(function, skip=set(positionals), as_positional=False)
    function(**parser.instantiate(parser.parse_args(list(args))))
