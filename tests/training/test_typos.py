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


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("trainer.max_epochs", "ten", "trainer.max_epochs must be an integer or null, got 'ten'."),
        ("model.init_args.lr", "fast", "lr must be a number, got 'fast'."),
        ("trainer.precision", "15", "trainer.precision must be one of 64, 32, 16 or one of 'transformer-engine', "),
        ("model.init_args.optimizer", "torch.optim.Adm", "got 'Adm'. The nearest is 'Adam'."),
        ("config", "empty.yaml", "a recipe must have keys and values, got 'empty.yaml', which is empty."),
    ],
)
def test_values_of_another_type(option, value, said, torchdau, capsys, tmp_path):
    (tmp_path / "empty.yaml").touch()
    recipe = [] if option == "config" else ["--config", ROOT / "recipes/digits_dau.yaml"]
    with pytest.raises(SystemExit) as end:
        torchdau("fit", *recipe, f"--{option}", value)
    shown = capsys.readouterr().err
    assert (end.value.code, shown.count("\n")) == (1, 1)
    assert said in shown
