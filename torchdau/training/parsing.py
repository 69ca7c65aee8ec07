"""Lightning's parser with error messages that help: on unknown keys, missing files and broken recipes."""

import inspect
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from torchdau.training.trust import DENIED, refusal_of

UNKNOWN = re.compile(
    r"ption '([\w.]+)' is not accepted|accept option '([\w.]+)'|has no attribute '(\w+)'|arguments: --([\w.]+)"
)
"""Unknown keys in messages of jsonargparse."""
INNER = re.compile(r"Errors:\s+- (?!Expected)(.*?)(?=\n\s*- |$)", re.DOTALL)
"""Error for the first of the types that a value may have."""
MISSING = re.compile(r'Unable to load config "([^"]+\.ya?ml)"$')
"""Message of jsonargparse about a missing file that a recipe names; for other files it names their errors."""
BROKEN = re.compile(r"Problems parsing config:(.*)", re.DOTALL)
"""Message of jsonargparse about a broken recipe."""
KEYS = re.compile(r"'(\w+)': ")
PATHS = re.compile(r"(?:'class_path': |class_path |Expected a path but )'?([\w.]+)")
VALUE = re.compile(r'Parser key "([\w.]+)":\s+(.*)(?:Given|Got) value: (.*)', re.DOTALL)
"""Message of jsonargparse about a value of another type than those that an option may have."""
TYPES = re.compile(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[(.*?)\])")
NAMES = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"}


def _recipe() -> str:
    """Return the recipe given on the command line."""
    finder = ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("-c", "--config", default="")
    return str(finder.parse_known_args()[0].config)


class Parser(LightningArgumentParser):
    """Parser that reports a mistake in a recipe or an option in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the message; for an unknown key, name it and the nearest known one."""
        if missing := MISSING.search(message.strip()):
            message = (
                f"files that a recipe names must lie where they do from the recipe, got {missing[1]!r}, which is not "
                "there. Copy it with the recipe, or put its content in place of its name."
            )
        if broken := BROKEN.search(message):
            message = f"a recipe must be YAML, got {_recipe()!r}, which is not: {broken[1]}"
        if message.strip() == "Unexpected config:":
            message = f"a recipe must have keys and values, got {_recipe()!r}, which is empty."
        message = message.replace('in "<unicode string>", ', "")
        if denied := DENIED.search(message):
            self.exit(1, f"{self.prog.replace(' [options]', '')}: {refusal_of(denied[1], 'the checkpoint')}\n")
        known = set(self._known(message))
        parts = [part for groups in UNKNOWN.findall(message) for name in groups for part in name.split(".") if part]
        unknown = [part for part in dict.fromkeys([*parts, *KEYS.findall(message)]) if part not in known]
        for part in unknown:
            if near := get_close_matches(part, known, 1, 0.6):
                message = f"keys and options must be known, got {part!r}. The nearest is {near[0]!r}."
                break
        else:
            if (wrong := VALUE.search(message)) and (types := TYPES.findall(wrong[2])):
                allowed = [NAMES.get(kind, kind) if kind else f"one of {choices}" for kind, choices in types]
                message = f"{wrong[1]} must be {' or '.join(allowed)}, got {wrong[3].strip()!r}."
            elif inner := INNER.search(message):
                message = inner[1]
        self.exit(1, f"{self.prog.replace(' [options]', '')}: {' '.join(message.split())}\n")

    def _known(self, message: str) -> Iterator[str]:
        """Yield all keys of the options, and of classes and functions named in a message."""
        yield from ("class_path", "init_args")
        for action in self._actions:
            yield from action.dest.split(".")
            for parser in getattr(action, "choices", None) or ():
                inner: Any = action.choices[parser] if isinstance(action.choices, dict) else None  # of a subcommand
                if isinstance(inner, Parser):
                    yield from inner._known("")
        for path in {*PATHS.findall(message)}:
            module, _, name = path.rpartition(".")
            found = sys.modules.get(module)  # importing it would run code of a checkpoint
            if found is None:
                continue
            yield from vars(found)
            made = getattr(found, name, None)
            for each in inspect.getmro(made) if inspect.isclass(made) else [made] if made else []:
                try:
                    yield from inspect.signature(each).parameters
                except (TypeError, ValueError):
                    continue
