"""A wrong letter in a key of a recipe is refused before data are read, with the key that was meant."""

import random
import re
import shutil
import string
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEY = re.compile(r"(?<![\w./])([a-z_]+)(?=: |:\n)")


def mutated(word, numbers):
    """A word with a letter more, less, other, or two that changed places."""
    place = numbers.randrange(len(word))
    letter = numbers.choice(string.ascii_lowercase)
    kinds = [
        word[:place] + word[place + 1 :],
        word[:place] + letter + word[place:],
        word[:place] + letter + word[place + 1 :],
        word[:place] + word[place : place + 2][::-1] + word[place + 2 :],
    ]
    return numbers.choice(kinds)


def mutations(count, folder):
    """Recipes with one wrong letter in a key, their own or of a file that they share; and the key."""
    numbers = random.Random(0)
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    recipes = sorted((folder / "recipes").glob("*.yaml"))
    while count:
        recipe = numbers.choice(recipes)
        shared = re.findall(r"shared/\w+\.yaml", recipe.read_text())
        file = numbers.choice([recipe, *(folder / "recipes" / name for name in shared)])
        text = file.read_text()
        code = re.sub("#.*", lambda comment: " " * len(comment[0]), text)
        found = numbers.choice([*KEY.finditer(code)])
        wrong = mutated(found[0], numbers)
        if wrong == found[0] or not wrong:
            continue
        file.write_text(text[: found.start()] + wrong + text[found.end() :])
        yield recipe, found[0], wrong
        file.write_text(text)
        count -= 1


def check(count, torchdau, monkeypatch, capsys, folder):
    monkeypatch.setenv("TORCHDAU_DATA", str(folder))
    monkeypatch.setattr("lightning.LightningDataModule.setup", lambda *_: pytest.fail("data were read"))
    for recipe, key, wrong in mutations(count, folder):
        start = time.perf_counter()
        with pytest.raises(SystemExit) as end:
            torchdau("fit", "--config", recipe)
        seconds = time.perf_counter() - start
        said = capsys.readouterr().err
        assert end.value.code == 1, (recipe.name, key, wrong, said)
        assert f"keys and options must be known, got '{wrong}'. The nearest is '{key}'." in said, (
            recipe.name,
            key,
            said,
        )
        assert seconds < 3, (recipe.name, key)


def test_a_few_typos(torchdau, monkeypatch, capsys, tmp_path):
    check(12, torchdau, monkeypatch, capsys, tmp_path)


@pytest.mark.slow
def test_typos(torchdau, monkeypatch, capsys, tmp_path):
    check(200, torchdau, monkeypatch, capsys, tmp_path)
