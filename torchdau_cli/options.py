"""How a function becomes a command: its arguments are the options, its docstring is the help."""

import re
import sys
from argparse import SUPPRESS, Action, HelpFormatter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from torchdau_cli.files import check_checkpoint

UNKNOWN = re.compile(r"[Uu]nrecognized arguments: (-[^\s=]+)")
"""In messages of argparse."""

MISSING = re.compile(r"arguments are required: (.*)")
"""In messages of argparse."""

CHOICES = re.compile(r'Parser key "(\w+)": Expected a typing.Literal\[(.*)\]\. Got value: (\S+)')
"""In messages of jsonargparse."""

CHECKPOINT = ("--checkpoint", "--ckpt_path")
"""What a checkpoint might be given with."""


class Help(HelpFormatter):
    """Shows defaults, as far as the help of an option does not explain them itself."""

    def _get_help_string(self, action: Action) -> str:
        text, default = action.help or "", action.default
        if default in (None, SUPPRESS) or "Default:" in text:
            return text
        return f"{text} Default: {str(default).lower() if isinstance(default, bool) else default}."


class Parser(ArgumentParser):
    """Answers a mistake in a line, with the nearest option that exists."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the program with exit code 1."""
        names = [name for action in self._actions for name in action.option_strings]
        if unknown := UNKNOWN.search(message):
            message = f"unknown option {unknown[1]}"
            near = get_close_matches(unknown[1], [*CHECKPOINT, *names], 1)
            if near and near[0] in CHECKPOINT:
                message += "; the checkpoint is the first argument, without an option"
            elif near:
                message += f"; did you mean {near[0]}?"
        if missing := MISSING.search(message):
            needed = [each for each in self._actions if each.required]
            order = (f"{''.join(each.option_strings[:1])} {each.dest.upper()}".strip() for each in needed)
            message = f"missing: {missing[1]}; write {self.prog} {' '.join(order)}"
        if wrong := CHOICES.search(" ".join(message.split())):
            name, choices, value = wrong.groups()
            near = get_close_matches(value, re.findall(r"'(.*?)'", choices), 1)
            message = f"{name} must be one of {choices}, got {value!r}" + (f"; did you mean {near[0]}?" if near else "")
        self.exit(1, f"{self.prog}: {' '.join(message.split())} (options: {self.prog} --help)\n")


def run(function: Callable[..., None], args: Sequence[str], **positionals: dict[str, Any]) -> None:
    """Run a function with the options that a user gave.

    Args:
        function: its docstring describes the options.
        args: what the user gave.
        **positionals: arguments of the function that have no ``--name``, as ``add_argument`` of argparse takes them.
    """
    description = (function.__doc__ or "").partition("\n")[0]
    name = function.__name__.replace("_", "-")
    parser = Parser(prog=f"torchdau {name}", description=description, allow_abbrev=False, formatter_class=Help)
    for key, options in positionals.items():
        parser.add_argument(key, **options)
    parser.add_function_arguments(function, skip=set(positionals), as_group=False, as_positional=False)
    arguments = parser.instantiate(parser.parse_args(list(args)))
    for checkpoint in (arguments.get("checkpoint"), *(arguments.get("checkpoints") or ())):
        if checkpoint is not None:
            check_checkpoint(checkpoint)
    call(function, arguments)


def call(function: Callable[..., None], arguments: Mapping[str, Any]) -> None:
    """Call a command's function, which imports torch first; that takes seconds."""
    if sys.stderr.isatty():
        sys.stderr.write("starting ...\n")
    function(**arguments)
