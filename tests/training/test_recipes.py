"""Every recipe runs a step, from the command line in its first lines, and has the settings of the paper."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from timm.optim import create_optimizer_v2
from torch import nn

from tests.training.data.layouts import make_cityscapes, make_folder, make_gopro, make_pairs, make_voc
from torchdau import DAUConv2d

ROOT = Path(__file__).parents[2]


RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def command_of(recipe):
    words = recipe.read_text().splitlines()[0].split(": ")[1].split()
    assert words == ["torchdau", "fit", "--config", str(recipe.relative_to(ROOT))]
    return ["fit", "--config", recipe]


ONE_STEP = ["--trainer.fast_dev_run", "1", "--data.init_args.batch_size", "4", "--data.init_args.num_workers", "0"]


def make_data(recipe, folder):
    """A few images in the layout of a recipe's set; and the options with which it runs on them."""
    kind = recipe.stem.partition("_")[0]
    if kind in ("voc", "cityscapes", "camvid"):
        four = {
            "cityscapes": partial(make_cityscapes, count=4),
            "camvid": partial(make_pairs, count=4),
            "voc": make_voc,
        }
        four[kind](folder)
        return ["--data.init_args.crop", "33"]
    if kind in ("gopro", "photographs"):
        make_gopro(folder, count=4)
        return ["--data.init_args.crop", "32"]
    sets = ("train", "val") if kind == "imagenet" else ("train", "test")
    make_folder(folder, sets, classes=[f"class{n}" for n in range(10)], count=2)
    return ["--model.init_args.network.init_args.num_classes", "10"]


ONE_STEP_EACH = [pytest.param(r, marks=[pytest.mark.slow] if "resnet101" in r.stem else []) for r in RECIPES]
"""ResNet-101 is what ResNet-50 and the ResNet-18 for CamVid are, in more layers."""


@pytest.mark.parametrize("recipe", ONE_STEP_EACH, ids=lambda p: p.stem)
def test_recipe_runs_a_step(recipe, torchdau, monkeypatch, tmp_path, capsys):
    options = make_data(recipe, tmp_path)
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path))
    torchdau(*command_of(recipe), *ONE_STEP, *options)
    bar = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch 1/1")][-1]
    assert "train_loss" in bar
    assert "val_" in bar
    longer = bar.replace("epoch 1/1", "epoch 100/100").replace(" 1/1 ", " 12345/12345 ").replace("00:00", "1:00:00")
    assert len(bar) + 14 == len(longer) <= 80


@pytest.mark.parametrize("recipe", [path for path in RECIPES if "dau" in path.stem], ids=lambda p: p.stem)
def test_timm_lets_no_displacement_decay(recipe):
    """In the networks of recipes, for timm's own trainer."""
    parser = ArgumentParser()
    parser.add_argument("network", type=nn.Module)
    config = yaml.safe_load(recipe.read_text())["model"]["init_args"]["network"]
    with torch.device("meta"):
        network = parser.instantiate(parser.parse_object({"network": config})).network
    optimizer = create_optimizer_v2(network, "adamw", lr=1e-3, weight_decay=0.05)
    layers = [module for module in network.modules() if isinstance(module, DAUConv2d)]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decay[id(layer.displacement)] for layer in layers} == {0}
    assert {decay[id(layer.weight)] for layer in layers} == {0.05}


def configuration(name, torchdau, capsys, monkeypatch):
    monkeypatch.setenv("TORCHDAU_DATA", "anywhere")
    with pytest.raises(SystemExit):
        torchdau("fit", "--config", ROOT / f"recipes/{name}.yaml", "--print_config")
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "network", "settings"),
    [
        ("imagenet_alexnet", {}, "alexnet"),
        ("imagenet_dau_alexnet_large", {"size": "large", "sigma": 0.5, "max_displacement": 4.0}, "alexnet"),
        ("imagenet_dau_alexnet_medium", {"size": "medium", "sigma": 0.5, "max_displacement": 4.0}, "alexnet"),
        ("imagenet_dau_alexnet_small", {"size": "small", "sigma": 0.5, "max_displacement": 4.0}, "alexnet"),
        ("imagenet_resnet50", {"name": "resnetv2_50", "pool": True}, "resnet"),
        ("imagenet_resnet101", {"name": "resnetv2_101", "pool": True}, "resnet"),
        ("imagenet_dau_resnet50", {"name": "resnetv2_50", "num_units": 2, "max_displacement": 4.0}, "resnet"),
        ("imagenet_dau_resnet101", {"name": "resnetv2_101", "num_units": 2, "max_displacement": 4.0}, "resnet"),
    ],
)
def test_imagenet_recipes_are_the_papers(name, network, settings, torchdau, capsys, monkeypatch):
    config = configuration(name, torchdau, capsys, monkeypatch)
    task, data = config["model"]["init_args"], config["data"]["init_args"]
    assert network.items() <= task["network"]["init_args"].items()
    assert task["network"]["init_args"]["num_classes"] == 1000
    rates = task["optimizer"]["init_args"]["momentum"], task["displacement_factor"]
    assert rates == (0.9, 500 if "dau" in name else None)
    schedule = task["scheduler"]["init_args"]
    assert schedule["gamma"] == 0.1
    if settings == "alexnet":
        assert (task["lr"], task["weight_decay"], task["scheduler_interval"]) == (0.01, 5e-4, "step")
        assert (config["trainer"]["max_steps"], schedule["milestones"]) == (800_000, [0.25, 0.5, 0.75])
        assert (data["size"], data["batch_size"]) == (227, 128)
    else:
        assert (task["lr"], task["weight_decay"], task["scheduler_interval"]) == (0.1, 1e-4, "epoch")
        assert (config["trainer"]["max_epochs"], schedule["milestones"]) == (100, [0.3, 0.6, 0.8, 0.9])
        assert (data["size"], data["batch_size"]) == (224, 256)


@pytest.mark.parametrize("units", ["", "dau_"])
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cityscapes_{}resnet101", set()),
        ("cityscapes_{}resnet101_pool", {"image_pool"}),
        ("cityscapes_{}resnet101_pool_{}", {"image_pool", "pyramid"}),
        ("cityscapes_{}deeplab", {"image_pool", "pyramid", "decoder"}),
        ("voc_{}alexnet", None),
    ],
)
def test_segmentation_recipes_are_the_papers(name, parts, units, torchdau, capsys, monkeypatch):
    config = configuration(name.format(units, "6u" if units else "aspp"), torchdau, capsys, monkeypatch)
    task, data, trainer = config["model"]["init_args"], config["data"]["init_args"], config["trainer"]
    network = task["network"]
    assert trainer["max_steps"] % trainer["val_check_interval"] == 0  # the last step is validated, and kept
    assert (task["optimizer"]["init_args"]["momentum"], task["tile"]) == (0.9, None)
    assert task["displacement_factor"] == (500 if units else None)
    if parts is None:
        assert network["class_path"].rpartition(".")[2] == "FCNAlexNet"
        assert network["init_args"]["classifier"]["class_path"] == f"torchdau.models.{units}alexnet"
        assert (network["init_args"]["num_classes"], network["init_args"]["spread"]) == (21, True)
        assert (task["lr"], task["weight_decay"], task["scheduler"]) == (2e-4, 5e-4, None)
        assert (trainer["max_steps"], data["batch_size"], data["year"]) == (65_000, 20, "2011")
        assert (data["scales"], data["crop"]) == ([1, 1], 500)
        if units:
            assert network["init_args"]["classifier"]["init_args"]["size"] == "medium"
    else:
        assert network["class_path"] == f"torchdau.models.{units}deeplab"
        switches = {part: part in parts for part in ("image_pool", "pyramid", "decoder")}
        others = {"name": "resnetv2_101", "num_classes": 19, "spread": True, "width": 256}
        assert (switches | others).items() <= network["init_args"].items()
        assert (task["lr"], task["weight_decay"], task["scheduler_interval"]) == (0.01, 1e-4, "step")
        assert task["scheduler"]["class_path"] == "torchdau.training.PolynomialDecay"
        assert {"power": 0.9, "displacement_power": 0.9}.items() <= task["scheduler"]["init_args"].items()
        assert (trainer["max_steps"], data["batch_size"]) == (50_000, 8)
        assert (data["crop"], data["scales"]) == (769, [0.5, 2.0])


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("cifar10_dau", {"num_units": 4, "sigma": 0.5, "learn_sigma": False, "max_displacement": 4.0}),
        ("cifar10_dau_learned_sigma", {"num_units": 4, "learn_sigma": True, "max_displacement": 4.0}),
        ("cifar10_conv", {}),
    ],
)
def test_recipes_are_the_papers(name, network, torchdau, capsys, monkeypatch):
    config = configuration(name, torchdau, capsys, monkeypatch)
    task = config["model"]["init_args"]
    made = task["network"]["init_args"]
    assert network.items() <= made.items()
    assert (made["in_channels"], made["widths"]) == (3, [96, 96, 192])
    assert (config["trainer"]["max_epochs"], config["data"]["init_args"]["batch_size"]) == (100, 256)
    rates = task["lr"], task["weight_decay"], task["displacement_factor"]
    assert rates == (0.01, 0.0, 500 if "dau" in name else None)
    assert (task["optimizer"]["class_path"], task["optimizer"]["init_args"]["momentum"]) == ("torch.optim.SGD", 0.9)
    assert (task["scheduler"]["init_args"]["milestones"], task["scheduler"]["init_args"]["gamma"]) == ([0.75], 0.1)


def fit_and_resume(recipe, devices, folder, *options):
    """From the command line, which starts the second process itself; two steps, then from their checkpoint two more.

    Returns the numbers of steps that the last checkpoint tells, after each.
    """
    command = [sys.executable, "-m", "torchdau", "fit", "--config", str(recipe)]
    command += ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", *options]
    command += ["--trainer.check_val_every_n_epoch", "null", "--trainer.val_check_interval", "2"]
    if devices > 1:
        command += ["--trainer.devices", str(devices), "--trainer.strategy", "ddp"]
    steps = []
    for limit in (2, 4):
        resume = ["--ckpt_path", str(next(folder.glob("runs/**/last.ckpt")))] if limit == 4 else []
        words = [*command, "--trainer.max_steps", str(limit), *resume]
        result = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600)
        assert result.returncode == 0, result.stderr[-3000:]
        last = max(folder.glob("runs/**/last.ckpt"), key=os.path.getmtime)
        steps.append(torch.load(last, weights_only=True)["global_step"])
    return steps


@pytest.mark.slow
def test_two_processes_train_and_resume(tmp_path):
    """They share the batches that one would have."""
    assert fit_and_resume(ROOT / "recipes/digits_dau.yaml", 2, tmp_path) == [2, 4]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_checkpoints_and_resumes(recipe, devices, monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    options = ["--data.init_args.batch_size", "4", *make_data(recipe, tmp_path / "data")]
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path / "data"))
    assert fit_and_resume(recipe, devices, tmp_path, *options, "--data.init_args.num_workers", "0") == [2, 4]
    shutil.rmtree(tmp_path / "runs")  # gigabytes
