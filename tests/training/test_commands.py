"""The commands, from the first training to predictions; what is wrong is refused with its name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from torchdau.training import DigitsData

ROOT = Path(__file__).parents[2]


def test_fit_resume_validate_test_predict(torchdau, tmp_path, capsys):
    recipe = ["--config", ROOT / "recipes/digits_dau.yaml"]
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.limit_train_batches", "3"]
    torchdau("fit", *recipe, *quiet[2:], "--trainer.max_epochs", "1")
    said = capsys.readouterr().out
    for words in ("1,437 training images, 360 test images, 10 classes", "epoch 1/1", "time     0:00:0", "step 3"):
        assert words in said
    (last,) = tmp_path.glob("runs/digits/**/last.ckpt")
    assert list(tmp_path.glob("runs/digits/tensorboard/**/events*"))
    assert list(tmp_path.glob("runs/digits/csv/**/metrics.csv"))
    before = torch.load(last, weights_only=True)
    torchdau("fit", *recipe, *quiet, "--trainer.max_epochs", "2", "--ckpt_path", last)
    after = torch.load(max(tmp_path.glob("runs/digits/**/last*.ckpt"), key=os.path.getmtime), weights_only=True)
    assert (before["global_step"], after["global_step"]) == (3, 6)
    torchdau("validate", *recipe, *quiet[:2], "--ckpt_path", last)
    (written,) = tmp_path.glob("runs/digits/tensorboard/version_0/config.yaml")
    torchdau("test", "--config", written, "--ckpt_path", last)
    torchdau("test", "--ckpt_path", last)  # a checkpoint tells how it was made
    torchdau("test", *recipe, *quiet[:2], "--ckpt_path", last)
    assert "test_accuracy" in capsys.readouterr().out
    torchdau("predict", *recipe, *quiet[:2], "--ckpt_path", last)
    (table,) = tmp_path.glob("runs/digits/predictions.csv")
    lines = table.read_text().splitlines()
    assert lines[0] == "image,rank,class,probability"
    assert len(lines) == 1 + 3 * 360
    assert all(0.1 <= float(line.split(",")[3]) <= 1 for line in lines[1::3])  # the largest of ten
    (tmp_path / "digits").mkdir()
    for number, image in enumerate(DigitsData().dataset(train=False).images[:4]):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"digits/{number}.png")
    torchdau("predict", last, *quiet[:2], "--data.init_args.pictures", tmp_path / "digits")
    rows = [line.split(",")[1:] for line in table.read_text().splitlines()]
    assert rows == [line.split(",")[1:] for line in lines[:13]]
    torchdau("predict", last, tmp_path / "digits/3.png", *quiet[:2])
    assert table.read_text().splitlines()[1].endswith(",".join(rows[10]))
    (tmp_path / "digits/0.png").write_bytes((tmp_path / "digits/0.png").read_bytes()[:50])
    (tmp_path / "digits/5.jpg").touch()
    strange = os.path.join(os.fsencode(tmp_path), b"digits/1\xff.png")  # no UTF-8
    shutil.copy(tmp_path / "digits/1.png", strange)
    with pytest.raises(SystemExit, match=r"torchdau predict: 2 could not be read, 4 others were written. .*5.jpg"):
        torchdau("predict", last, *quiet[:2], "--data.init_args.pictures", tmp_path / "digits")
    rows = table.read_text(errors="surrogateescape").splitlines()
    assert len(rows) == 1 + 3 * 4  # the others are there
    assert any(os.fsencode(row).startswith(strange) for row in rows)


def test_the_last_checkpoint_is_the_last_one(torchdau, tmp_path):
    """Also where it is not the best: with a rate of 0 no epoch is better than the first."""
    still = ["--model.init_args.lr", "0", "--model.init_args.displacement_lr", "0", "--trainer.max_epochs", "3"]
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.limit_train_batches", "1"]
    torchdau("fit", "--config", ROOT / "recipes/digits_conv.yaml", *still, *quiet)
    (last,) = tmp_path.glob("runs/digits/**/last.ckpt")
    assert torch.load(last, weights_only=True)["epoch"] == 2
    assert len(list(last.parent.iterdir())) == 2


@pytest.mark.parametrize("words", [["--ckpt_path", "nowhere.ckpt"], ["nowhere.ckpt"]])
def test_a_missing_checkpoint_is_named(words, torchdau):
    with pytest.raises(
        SystemExit, match=r"^torchdau test: checkpoint must be .*, got 'nowhere.ckpt', which is no file"
    ):
        torchdau("test", *words)


def test_a_network_with_other_classes_is_refused(torchdau):
    with pytest.raises(
        SystemExit, match=r"^torchdau fit: num_classes of the network must be 10, .* DigitsData, got num_classes=12"
    ):
        torchdau(
            "fit",
            *["--config", ROOT / "recipes/digits_dau.yaml"],
            *["--model.init_args.network.init_args.num_classes", "12"],
        )


def test_a_recipe_without_the_files_that_it_names(torchdau, tmp_path, capsys):
    shutil.copy(ROOT / "recipes/digits_dau.yaml", tmp_path / "mine.yaml")
    with pytest.raises(SystemExit):
        torchdau("fit", "--config", "mine.yaml")
    said = capsys.readouterr().err
    assert "got 'shared/digits_trainer.yaml', which is not there. Copy it with the recipe" in said
    shutil.copytree(ROOT / "recipes/shared", tmp_path / "shared")
    (tmp_path / "broken.yaml").write_text("trainer: {max_epochs: 3\nmodel: [")
    with pytest.raises(SystemExit):
        torchdau("fit", "--config", "broken.yaml")
    assert capsys.readouterr().err.startswith("torchdau fit: a recipe must be YAML, got 'broken.yaml', which is not: ")
    (tmp_path / "shared/digits_trainer.yaml").write_text("max_epochs: [")
    with pytest.raises(SystemExit):
        torchdau("fit", "--config", "mine.yaml")
    assert "Unable to load config 'shared/digits_trainer.yaml' - while parsing" in capsys.readouterr().err
    (tmp_path / "shared/digits_trainer.yaml").write_text("max_epochs: three")
    with pytest.raises(SystemExit):
        torchdau("fit", "--config", "mine.yaml")
    assert "must be an integer or null, got 'three'." in capsys.readouterr().err


def test_the_likeliest_first_mistake(torchdau, monkeypatch):
    monkeypatch.delenv("TORCHDAU_DATA", raising=False)
    with pytest.raises(SystemExit) as end:
        torchdau("fit", "--config", ROOT / "recipes/cifar10_dau.yaml")
    said = (
        "torchdau fit: root must name the folder of the data set, got root=None. Give data.init_args.root, or set the "
    )
    assert end.value.code == f"{said}environment variable TORCHDAU_DATA."


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("model.init_args.network.init_args.num_unit=3", "num_unit"),
        ("trainer.max_epoch=3", "max_epoch"),
        ("data.init_args.batchsize=3", "batchsize"),
        ("model.init_args.weigth_decay=3", "weigth_decay"),
    ],
)
def test_a_typo_is_refused_before_data_is_read(key, named, torchdau, capsys, monkeypatch):
    monkeypatch.setattr("torchdau.training.DigitsData.setup", lambda *_: pytest.fail("data was read"))
    name, value = key.split("=")
    with pytest.raises(SystemExit) as stop:
        torchdau("fit", "--config", ROOT / "recipes/digits_dau.yaml", f"--{name}", value)
    assert stop.value.code == 1
    assert named in capsys.readouterr().err


def test_a_missing_recipe_is_named(torchdau):
    with pytest.raises(SystemExit, match=r"nowhere\.yaml', which is no file"):
        torchdau("fit", "--config", "nowhere.yaml")


@pytest.mark.parametrize(
    ("module", "words"),
    [("lightning", "fit --config x.yaml"), ("matplotlib", "plot x.ckpt sigmas"), ("PIL", "blur x --output y")],
)
def test_a_missing_extra_is_named(module, words, tmp_path):
    (tmp_path / "x.yaml").touch()
    (tmp_path / "x.ckpt").write_bytes(64 * b"0")
    code = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = {words.split()}\n"
        "from torchdau_cli.main import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = f"torchdau {words.split()[0]}: {module} is missing. From the folder of torchdau, run: "
    assert done.stderr == f'{said}pip install ".[train,plots]"\n'


def test_a_module_that_the_user_misses_is_not_ours(torchdau, monkeypatch):
    def lack(*args):
        raise ModuleNotFoundError("No module named 'psutil'", name="psutil")

    monkeypatch.setattr("torchdau.training.cli.main", lack)
    with pytest.raises(ModuleNotFoundError, match="psutil"):
        torchdau("fit", "--config", ROOT / "recipes/digits_dau.yaml")


OWN = """
from lightning import LightningModule
from torch import nn
from torchdau.models import dau_cifarnet

class Own(LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.layer = nn.Linear(64, width)

    def configure_optimizers(self):
        return __import__("torch").optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch, index):
        return self.layer(batch[0].flatten(1)).square().mean()

    def validation_step(self, batch, index):
        pass

def started(pretrained: str | None = None) -> nn.Module:
    return dau_cifarnet(in_channels=1, image_size=8, widths=(4, 4, 4))
"""


@pytest.mark.parametrize(
    "model",
    [
        ["--model", "own.Own"],
        ["--model.init_args.network", "own.started", "--model.init_args.network.init_args.pretrained", "weights.pth"],
    ],
    ids=["task", "network"],
)
def test_tasks_and_networks_of_ones_own(model, torchdau, monkeypatch, tmp_path, capsys):
    """A task without a network, and a network with an argument that is called as one of ours."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    short = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0", "--trainer.enable_progress_bar", "false"]
    recipe = ROOT / "recipes/digits_dau.yaml"
    if model[0] == "--model":
        recipe = tmp_path / "own.yaml"
        recipe.write_text("seed_everything: 0\ndata: torchdau.training.DigitsData\n")
    torchdau("fit", "--config", recipe, *model, *short)
    (checkpoint, *_) = tmp_path.glob("**/*.ckpt")
    if model[0] != "--model":
        (following,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next ")]
        assert following.endswith(".ckpt --trust own")
        torchdau(*following.split()[2:], "--trainer.enable_progress_bar", "false")
    config = torch.load(checkpoint, weights_only=True)["config"]
    assert ("pretrained: weights.pth" in config) == (model[0] != "--model")


def test_two_processes_train(tmp_path):
    """Messages and loggers must not wait for a process that does not come; the slow tests say what is learned."""
    few = ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1", "--trainer.max_epochs", "1"]
    two = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = [sys.executable, "-m", "torchdau", "fit", "--config", ROOT / "recipes/digits_dau.yaml", *few, *two]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.count("results") == done.stdout.count("next ") == 1
    assert len([*tmp_path.glob("runs/digits/**/last.ckpt")]) == 1


def test_demo(torchdau, capsys, tmp_path):
    torchdau("demo", "--epochs", "1", "--output", tmp_path / "out")
    out = capsys.readouterr().out
    for word in ("units", "dilation 4", "accuracy", "pixels"):
        assert word in out
    for picture in ("reach.png", "displacements.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_rows_that_predict_does_not_show_are_counted(torchdau, tmp_path, capsys):
    short = [
        "--trainer.enable_progress_bar",
        "false",
        "--trainer.limit_train_batches",
        "1",
        "--trainer.max_epochs",
        "1",
    ]
    torchdau("fit", "--config", "recipes/digits_dau.yaml", *short)
    torchdau("predict", next(tmp_path.glob("runs/**/last.ckpt")), "--trainer.enable_progress_bar", "false")
    assert "... and 340 more" in capsys.readouterr().out
