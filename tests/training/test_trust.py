"""Checkpoints from strangers: which classes they may name, and what else they cannot do."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from torchdau.training.checkpoints import write_checkpoint
from torchdau.training.restoring import restore_network
from torchdau.training.restoring_tasks import restore_data, restore_task

ROOT = Path(__file__).parents[2]
WORDS = (
    ["test"],
    ["predict"],
    ["validate"],
    ["fit"],
    ["report"],
    ["prune-curve"],
    ["plot", "displacements"],
    ["deblur"],
)
MINE = """
from pathlib import Path
from torch import nn

Path("ran").touch()

class Net(nn.Module):
    num_classes = 10

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from torchdau_cli.main import main

    folder = tmp_path_factory.mktemp("trained")
    words = ["torchdau", "fit", "--config", str(ROOT / "recipes/digits_conv.yaml"), "--trainer.max_epochs", "1"]
    words += ["--trainer.limit_train_batches", "1", "--trainer.enable_progress_bar", "false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", words)
        main()
    (last,) = folder.glob("runs/**/last.ckpt")
    return last


def changed(trained, path, key, value):
    """The checkpoint with another entry in its configuration."""
    saved = torch.load(trained, weights_only=True)
    saved["config"] = re.sub(rf"(?ms)^{key}:.*?(?=^\w|\Z)", f"{key}: {json.dumps(value)}\n", saved["config"])
    write_checkpoint(saved, path)
    return path


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.hub.load", "torch.utils.cpp_extension.load"])
def test_no_code_of_strangers_runs(name, words, trained, torchdau, tmp_path, monkeypatch):
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("it ran"))
    network = {"class_path": name, "init_args": {"command": "touch ran"}}
    task = "Deblurring" if words == ["deblur"] else "Classification"
    model = {"class_path": f"torchdau.training.{task}", "init_args": {"network": network}}
    path = changed(trained, tmp_path / "bad.ckpt", "model", model)
    command, *rest = words
    more = {"deblur": ["x.png", "--output", "out"]}.get(command, [])
    (tmp_path / "x.png").touch()
    with pytest.raises(SystemExit, match=rf"checkpoint must name classes of torchdau, .*, got '{name}'"):
        torchdau(command, path, *rest, *more)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["data", "trainer"])
def test_nor_through_data_and_callbacks(key, trained, torchdau, tmp_path):
    bad = {"class_path": "os.system", "init_args": {"command": "touch ran"}}
    value = {"data": bad, "trainer": {"callbacks": [bad]}}[key]
    path = changed(trained, tmp_path / "bad.ckpt", key, value)
    with pytest.raises(SystemExit, match=r"checkpoint must name classes of torchdau, .* got 'os.system'"):
        torchdau("test", path)
    if key == "data":
        with pytest.raises(ValueError, match=r"checkpoint must name classes of torchdau, .* got 'os.system'"):
            restore_data(path)


@pytest.mark.parametrize("how", ["network", "model", "optimizer", "callbacks", "escaped", "file", "hyper_parameters"])
def test_nor_by_other_ways_to_name_a_class(how, trained, torchdau, tmp_path, monkeypatch, capsys):
    """Which jsonargparse and Lightning know: a name alone, text, another file, what Lightning keeps of arguments."""
    (tmp_path / "stranger.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    saved = torch.load(trained, weights_only=True)
    config = yaml.safe_load(saved["config"])
    arguments = config["model"]["init_args"]
    (tmp_path / "net.yaml").write_text("class_path: stranger.Net")
    if how == "model":
        config["model"] = "stranger.Net"
    elif how == "callbacks":
        config["trainer"]["callbacks"] = ["stranger.Net"]
    elif how == "hyper_parameters":
        saved["hyper_parameters"] = {"_class_path": "stranger.Net"}
    else:
        network = {
            "network": "stranger.Net",
            "escaped": '{"class\\u005fpath": "stranger.Net"}',
            "file": str(tmp_path / "net.yaml"),
        }
        arguments["optimizer" if how == "optimizer" else "network"] = network.get(how, "stranger.Net")
    saved["config"] = yaml.safe_dump(config)
    write_checkpoint(saved, tmp_path / "bad.ckpt")
    if how == "hyper_parameters":
        torchdau("test", "bad.ckpt")  # nobody asks for it
    else:
        with pytest.raises(SystemExit):
            torchdau("test", "bad.ckpt")
    if how not in ("hyper_parameters", "callbacks"):
        with pytest.raises(ValueError, match="checkpoint must"):
            restore_task(tmp_path / "bad.ckpt")
    assert not (tmp_path / "ran").exists()
    assert "stranger" not in sys.modules


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("forced", [None, "1"])
def test_nor_from_files_that_a_checkpoint_names(forced, trained, torchdau, tmp_path, monkeypatch):
    """By a class that opens them as it likes, such as older versions of timm's create_model."""
    torch.save(Evil(), tmp_path / "evil.pth")
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    monkeypatch.setattr(
        "timm.models._helpers.load_state_dict", lambda path, *_, **__: torch.load(path, weights_only=False)
    )
    arguments = {"model_name": "resnet10t", "checkpoint_path": "evil.pth"}
    network = {"class_path": "timm.create_model", "init_args": arguments}
    model = {"class_path": "torchdau.training.Classification", "init_args": {"network": network}}
    path = changed(trained, tmp_path / "bad.ckpt", "model", model)
    for words in (["test", path], ["plot", path, "displacements"]):
        with pytest.raises(SystemExit, match="Weights only load failed"):
            torchdau(*words)
    assert not (tmp_path / "ran").exists()
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == forced
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_profiler_writes_nothing_elsewhere(trained, torchdau, tmp_path):
    profiler = {
        "class_path": "lightning.pytorch.profilers.SimpleProfiler",
        "init_args": {"dirpath": str(tmp_path / "elsewhere"), "filename": "x"},
    }
    trainer = yaml.safe_load(torch.load(trained, weights_only=True)["config"])["trainer"]
    torchdau("test", changed(trained, tmp_path / "bad.ckpt", "trainer", trainer | {"profiler": profiler}))
    assert not (tmp_path / "elsewhere").exists()


def test_modules_that_the_user_trusts(trained, torchdau, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TORCHDAU_TRUST", "")
    options = [
        "--trainer.limit_train_batches",
        "1",
        "--trainer.max_epochs",
        "1",
        "--trainer.enable_progress_bar",
        "false",
    ]
    own = ["--model.init_args.network", "mine.Net"]
    torchdau("fit", "--config", ROOT / "recipes/digits_conv.yaml", *options, *own)  # one's own recipe needs no trust
    (last,) = tmp_path.glob("runs/**/last.ckpt")
    (tmp_path / "ran").unlink()
    sys.modules.pop("mine")
    for refuse in (restore_network, restore_task):
        with pytest.raises(
            ValueError, match=r"got 'mine.Net' in '.*last.ckpt'. Its code would run; .* add --trust mine"
        ):
            refuse(last)
    with pytest.raises(SystemExit, match="add --trust mine"):
        torchdau("test", last)
    assert not (tmp_path / "ran").exists()
    torchdau("test", last, "--trust=mine")
