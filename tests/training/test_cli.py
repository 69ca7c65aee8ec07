"""Every recipe runs a step, from the command line in its first lines; what is wrong is refused with its name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.training.test_classification_data import make_folder
from tests.training.test_deblurring_data import make_gopro
from tests.training.test_segmentation_data import make_cityscapes, make_pairs, make_voc
from torchdau.__main__ import main

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
LIGHTNING_WARNINGS = [
    "ignore:.*does not have many workers",
    "ignore:The number of training batches",
    "ignore:.*is deprecated, use `isinstance",  # Lightning's own
    "ignore:`isinstance.treespec",
    "ignore:.*exists and is not empty",
    "ignore:.*Checkpoint directory",
    "ignore:.*lr_scheduler.step",
    "ignore:Experiment logs directory",
    "ignore:.*litlogger",
    "ignore:The dirpath has changed",
    "ignore:.*could not find the monitored key",  # where max_steps ends a training before its validation
]
pytestmark = [pytest.mark.filterwarnings(w) for w in LIGHTNING_WARNINGS]


@pytest.fixture
def torchdau(monkeypatch, tmp_path):
    """Runs a command in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["torchdau", *map(str, args)])
        main()

    return run


def command_of(recipe):
    words = recipe.read_text().splitlines()[0].split(": ")[1].split()
    assert words == ["torchdau", "fit", "--config", str(recipe.relative_to(ROOT))]
    return ["fit", "--config", recipe]


ONE_STEP = ["--trainer.fast_dev_run", "1", "--data.init_args.batch_size", "4", "--data.init_args.num_workers", "0"]


def make_data(recipe, folder):
    """A few images in the layout of a recipe's set; and the options with which it runs on them."""
    kind = recipe.stem.partition("_")[0]
    if kind in ("voc", "cityscapes", "camvid"):
        {"voc": make_voc, "cityscapes": make_cityscapes, "camvid": make_pairs}[kind](folder)
        return ["--data.init_args.crop", "33", "--data.init_args.batch_size", "2"]
    if kind == "gopro":
        make_gopro(folder)
        return ["--data.init_args.crop", "32", "--data.init_args.batch_size", "2"]
    sets = ("train", "val") if kind == "imagenet" else ("train", "test")
    make_folder(folder, sets, classes=[f"class{n}" for n in range(10)], count=2)
    return ["--model.init_args.network.init_args.num_classes", "10"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_recipe_runs_a_step(recipe, torchdau, monkeypatch, tmp_path):
    options = make_data(recipe, tmp_path)
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path))
    torchdau(*command_of(recipe), *ONE_STEP, *options)


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
    assert (task["optimizer"]["init_args"]["momentum"], task["displacement_lr"]) == (0.9, None)
    schedule = task["scheduler"]["init_args"]
    assert schedule["gamma"] == 0.1
    if settings == "alexnet":
        assert (task["lr"], task["weight_decay"], task["scheduler_interval"]) == (0.01, 5e-4, "step")
        assert (config["trainer"]["max_steps"], schedule["step_size"]) == (800_000, 200_000)
        assert (data["size"], data["batch_size"]) == (227, 128)
    else:
        assert (task["lr"], task["weight_decay"], task["scheduler_interval"]) == (0.1, 1e-4, "epoch")
        assert (config["trainer"]["max_epochs"], schedule["milestones"]) == (100, [30, 60, 80, 90])
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
    assert (task["optimizer"]["init_args"]["momentum"], task["displacement_lr"], task["tile"]) == (0.9, None, None)
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
        assert task["scheduler"]["class_path"] == "torch.optim.lr_scheduler.PolynomialLR"
        assert {"total_iters": 50_000, "power": 0.9}.items() <= task["scheduler"]["init_args"].items()
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
    assert (task["lr"], task["weight_decay"], task["displacement_lr"]) == (0.01, 0.0, None)
    assert (task["optimizer"]["class_path"], task["optimizer"]["init_args"]["momentum"]) == ("torch.optim.SGD", 0.9)
    assert (task["scheduler"]["init_args"]["milestones"], task["scheduler"]["init_args"]["gamma"]) == ([75], 0.1)


def test_fit_resume_validate_test_predict(torchdau, tmp_path, capsys):
    recipe = ["--config", ROOT / "recipes/digits_dau.yaml"]
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.limit_train_batches", "3"]
    torchdau("fit", *recipe, *quiet, "--trainer.max_epochs", "1")
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


def test_the_last_checkpoint_is_the_last_one(torchdau, tmp_path):
    """Also where it is not the best: with a rate of 0 no epoch is better than the first."""
    still = ["--model.init_args.lr", "0", "--model.init_args.displacement_lr", "0", "--trainer.max_epochs", "3"]
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.limit_train_batches", "1"]
    torchdau("fit", "--config", ROOT / "recipes/digits_conv.yaml", *still, *quiet)
    (last,) = tmp_path.glob("runs/digits/**/last.ckpt")
    assert torch.load(last, weights_only=True)["epoch"] == 2
    assert len(list(last.parent.iterdir())) == 2


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_random_weights_are_not_measured(command, torchdau, capsys):
    with pytest.raises(SystemExit):
        torchdau(command, "--config", ROOT / "recipes/digits_dau.yaml")
    assert f"--ckpt_path must name a checkpoint for {command}, got none" in capsys.readouterr().err


def test_a_missing_checkpoint_is_named(torchdau):
    with pytest.raises(SystemExit, match=r"--ckpt_path: checkpoint must be .*, got 'nowhere.ckpt', which is no file"):
        torchdau("test", "--ckpt_path", "nowhere.ckpt")


def test_a_network_with_other_classes_is_refused(torchdau):
    with pytest.raises(ValueError, match=r"num_classes of the network must be 10, .* DigitsData, got num_classes=12"):
        torchdau(
            "fit",
            *["--config", ROOT / "recipes/digits_dau.yaml"],
            *["--model.init_args.network.init_args.num_classes", "12"],
        )


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("model.init_args.network.init_args.num_unit=3", "num_unit"),
        ("trainer.max_epoch=3", "max_epoch"),
        ("data.init_args.batchsize=3", "batchsize"),
        ("model.init_args.learning_rate=3", "learning_rate"),
    ],
)
def test_a_typo_is_refused_before_data_is_read(key, named, torchdau, capsys, monkeypatch):
    monkeypatch.setattr("torchdau.training.DigitsData.setup", lambda *_: pytest.fail("data was read"))
    name, value = key.split("=")
    with pytest.raises(SystemExit) as stop:
        torchdau("fit", *command_of(ROOT / "recipes/digits_dau.yaml"), f"--{name}", value)
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


def test_a_missing_recipe_is_named(torchdau, capsys):
    with pytest.raises(SystemExit):
        torchdau("fit", "--config", "nowhere.yaml")
    assert "nowhere.yaml" in capsys.readouterr().err


def test_a_wrong_command_lists_the_right_ones(torchdau, capsys):
    with pytest.raises(
        SystemExit,
        match=r"COMMAND must be one of demo, fit, .* predict, parameters, prune-curve, deblur, blur, env, got 'train'",
    ):
        torchdau("train")
    torchdau("--help")
    assert "usage: torchdau COMMAND" in capsys.readouterr().out


def test_a_missing_extra_is_named(torchdau, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    for name in [n for n in sys.modules if n.startswith("torchdau.training")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        SystemExit, match=r'lightning is missing. Install it with: pip install "torchdau\[train,plots\]"'
    ):
        torchdau("fit")


def test_a_module_that_the_user_misses_is_not_ours(torchdau, monkeypatch):
    def lack(*args):
        raise ModuleNotFoundError("No module named 'psutil'", name="psutil")

    monkeypatch.setattr("torchdau.training.cli.main", lack)
    with pytest.raises(ModuleNotFoundError, match="psutil"):
        torchdau("fit")


def test_demo(torchdau, capsys, tmp_path):
    torchdau("demo", "--epochs", "1", "--output", tmp_path / "out")
    out = capsys.readouterr().out
    for word in ("units", "3 x 3 twin", "18,624", "27,936", "displacements.png", "units.ckpt"):
        assert word in out
    assert (tmp_path / "out/displacements.png").read_bytes().startswith(b"\x89PNG")
    assert torch.load(tmp_path / "out/units.ckpt", weights_only=True)["epoch"] == 0


def fit_and_resume(recipe, devices, folder, *options):
    """From the command line, which starts the second process itself; an epoch, then from its checkpoint another.

    Returns the numbers of steps that the last checkpoint tells, after each.
    """
    command = [
        sys.executable,
        "-m",
        "torchdau",
        "fit",
        "--config",
        str(recipe),
        "--trainer.enable_progress_bar",
        "false",
    ]
    if devices > 1:
        command += ["--trainer.devices", str(devices), "--trainer.strategy", "ddp"]
    steps = []
    for epochs in (1, 2):
        resume = ["--ckpt_path", str(next(folder.glob("runs/**/last.ckpt")))] if epochs == 2 else []
        limits = ["--trainer.max_epochs", str(epochs), "--trainer.limit_train_batches", "4", *options, *resume]
        subprocess.run([*command, *limits], cwd=folder, check=True, capture_output=True, timeout=600)
        last = max(folder.glob("runs/**/last.ckpt"), key=os.path.getmtime)
        steps.append(torch.load(last, weights_only=True)["global_step"])
    return steps


def test_two_processes_train_and_resume(tmp_path):
    """They share the batches that one would have."""
    assert fit_and_resume(ROOT / "recipes/digits_dau.yaml", 2, tmp_path) == [4, 8]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_checkpoints_and_resumes(recipe, devices, monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    options = ["--data.init_args.batch_size", "4", *make_data(recipe, tmp_path / "data")]
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path / "data"))
    options += ["--data.init_args.num_workers", "0", "--trainer.accelerator", "cpu"]
    options += ["--trainer.check_val_every_n_epoch", "1", "--trainer.val_check_interval", "1.0"]
    first, second = fit_and_resume(recipe, devices, tmp_path, *options)
    assert 0 < 2 * first == second
    shutil.rmtree(tmp_path / "runs")  # gigabytes
