"""Networks out of checkpoints, and the pruning curve over them."""

import csv
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from torchdau.training import DigitsData
from torchdau.training.checkpoints import write_checkpoint
from torchdau.training.restoring_tasks import restore_data, restore_task

ROOT = Path(__file__).parents[2]

FIT = ["fit", "--config", ROOT / "recipes/digits_dau.yaml", "--trainer.enable_progress_bar", "false"]


@pytest.fixture
def checkpoint(torchdau, tmp_path):
    torchdau(*FIT, "--trainer.max_epochs", "2", "--model.init_args.network.init_args.sigma", "0.4")
    (last,) = tmp_path.glob("runs/digits/**/last.ckpt")
    return last


def test_prune_curve(checkpoint, torchdau, tmp_path, capsys):
    torchdau("prune-curve", checkpoint, "--thresholds", "[0, 0.1, 0.6]", "--output", "out", "--repeats", "2")
    shown = capsys.readouterr().out
    assert "prune_curve.csv" in shown
    assert (tmp_path / "out/prune_curve.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "out/prune_curve.csv") as file:
        rows = [{k: float(v) for k, v in row.items() if k != "checkpoint"} for row in csv.DictReader(file)]
    assert [row["threshold"] for row in rows] == [0, 0.1, 0.6]
    whole, some, few = rows
    task = restore_task(checkpoint)
    (metrics,) = Trainer(logger=False, enable_progress_bar=False).test(task, restore_data(checkpoint), verbose=False)
    assert whole["accuracy"] == pytest.approx(metrics["test_accuracy"])
    assert whole["units"] == 2 * (32 + 32 * 32 + 32 * 64)
    assert (whole["removed"], whole["parameters"]) == (0, sum(p.numel() for p in task.network.parameters()))
    for less, more in ((some, whole), (few, some)):
        assert less["units"] < more["units"]
        assert less["removed"] == pytest.approx(1 - less["units"] / whole["units"])
        assert more["parameters"] - less["parameters"] == 3 * (more["units"] - less["units"])
        assert more["file_size"] - less["file_size"] == pytest.approx(12 * (more["units"] - less["units"]), abs=200)
    assert few["accuracy"] < whole["accuracy"]
    assert all(row["seconds_one_image"] > 0 and row["seconds_batch"] > 0 for row in rows)


def test_several_networks(checkpoint, torchdau, tmp_path, capsys):
    """They are named by what their paths differ in."""
    for name in ("few/0", "many/0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "last.ckpt").write_bytes(checkpoint.read_bytes())
    paths = ["few/0/last.ckpt", "many/0/last.ckpt"]
    torchdau("prune-curve", *paths, "--thresholds", "[0, 0.1]", "--output", "out", "--repeats", "0")
    shown = capsys.readouterr().out
    assert "few " in shown
    assert "many " in shown
    with open(tmp_path / "out/prune_curve.csv") as file:
        assert [row["checkpoint"] for row in csv.DictReader(file)] == ["few", "few", "many", "many"]


def test_restoring_needs_no_configuration(checkpoint):
    task = restore_task(str(checkpoint))
    assert [layer.sigma for layer in task.network.features if hasattr(layer, "sigma")] == [
        0.4
    ] * 3  # not in the weights
    assert not task.training
    assert isinstance(restore_data(checkpoint), DigitsData)
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    torch.testing.assert_close(task.state_dict(), saved, rtol=0, atol=0)


def test_what_is_no_checkpoint(torchdau, tmp_path):
    with pytest.raises(SystemExit, match=r"torchdau prune-curve: checkpoint must be .*, got 'nowhere.ckpt', which is"):
        torchdau("prune-curve", "nowhere.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    write_checkpoint([1], tmp_path / "list.ckpt")
    write_checkpoint({"state_dict": {}}, tmp_path / "other.ckpt")
    write_checkpoint({"config": "a: [", "state_dict": {}}, tmp_path / "yaml.ckpt")
    write_checkpoint({"config": "data: 3", "state_dict": {}}, tmp_path / "key.ckpt")
    whys = {
        "text": "it has no digest",
        "list": "it holds a list",
        "other": "KeyError",
        "yaml": "Parser",
        "key": "KeyError",
    }
    for name, why in whys.items():
        with pytest.raises(ValueError, match=rf"checkpoint must be a file .*, got '.*{name}.ckpt': {why}"):
            restore_task(tmp_path / f"{name}.ckpt")


def test_a_checkpoint_with_other_weights(checkpoint):
    saved = torch.load(checkpoint, weights_only=True)
    del saved["state_dict"]["network.classifier.weight"]
    write_checkpoint(saved, checkpoint)
    with pytest.raises(
        ValueError, match=r"checkpoint must have the weights of its network, got .*last.ckpt: .*\n.*Missing"
    ):
        restore_task(checkpoint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--thresholds", "[0, 2]"], "threshold must be .* less than 1, .* got threshold=2"),
        (["--thresholds", "[]"], r"thresholds must not be empty .*, got thresholds=\[\]"),
        (["--repeats", "-1"], "repeats must be at least 0, got .* repeats=-1"),
        (["--output", "file"], "File exists: 'file'"),
    ],
)
def test_options_that_do_not_fit_lose_nothing(options, message, checkpoint, torchdau, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/prune_curve.csv").write_text("an older one")
    (tmp_path / "file").write_text("of something else")
    with pytest.raises(SystemExit, match=f"torchdau prune-curve: .*{message}"):
        torchdau("prune-curve", checkpoint, "--output", "out", "--overwrite", "true", *options)
    assert (tmp_path / "out/prune_curve.csv").read_text() == "an older one"
