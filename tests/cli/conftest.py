"""Two networks that learned digits for a moment, one with units."""

import sys
from pathlib import Path

import pytest

from torchdau_cli.main import main

ROOT = Path(__file__).parents[2]


def fit(recipe, folder, *options):
    """Trains a digits recipe a little; returns its checkpoint."""
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2"]
    words = ["torchdau", "fit", "--config", ROOT / f"recipes/{recipe}.yaml", *quiet, *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [*map(str, words), "--trainer.limit_train_batches", "5"])
        main()
    (last,) = folder.glob("runs/**/last.ckpt")
    return last


@pytest.fixture(scope="session")
def units(tmp_path_factory):
    return fit("digits_dau", tmp_path_factory.mktemp("units"), "--trainer.callbacks+", "torchdau.training.WatchUnits")


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return fit("digits_conv", tmp_path_factory.mktemp("plain"))
