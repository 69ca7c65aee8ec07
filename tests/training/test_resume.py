"""A training that is killed, and resumed, ends as one that was not: bit for bit on the CPU."""

import csv
import random
import shlex
import signal
from pathlib import Path

import pytest
import torch

from tests.training.data.layouts import make_folder, make_gopro, make_pairs
from tests.training.processes import last_checkpoint, run, validations, wait_until_ended
from torchdau.training import WatchUnits

ROOT = Path(__file__).parents[2]
HOOKS = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end", "on_validation_batch_end")
SHORTEST = ["--trainer.enable_progress_bar", "false", "--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1"]
OPTIONS = {
    "digits_dau": ["--trainer.limit_val_batches", "3"],
    "cifar10_dau_alexnet_1": ["--data.init_args.batch_size", "4"],
    "camvid_dau_resnet18": ["--data.init_args.batch_size", "2", "--data.init_args.crop", "33"],
    "gopro_dau_srn": [
        *["--data.init_args.batch_size", "2", "--data.init_args.crop", "32"],
        *["--model.init_args.network.init_args.widths", "[4, 4, 4]"],
    ],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folders = {name.partition("_")[0]: tmp_path_factory.mktemp(name) for name in OPTIONS}
    make_folder(folders["cifar10"], ("train", "test"), classes=[f"class{n}" for n in range(10)], count=2)
    make_pairs(folders["camvid"], count=10)
    make_gopro(folders["gopro"], count=10)
    return folders


def command(recipe, *options):
    """Three epochs of five batches, and a checkpoint after every second batch."""
    words = ["fit", "--config", ROOT / f"recipes/{recipe}.yaml", *OPTIONS[recipe]]
    words += [
        "--trainer.max_epochs",
        "3",
        "--trainer.limit_train_batches",
        "5",
        "--trainer.enable_progress_bar",
        "false",
    ]
    words += ["--trainer.check_val_every_n_epoch", "1", "--trainer.val_check_interval", "null"]
    words += ["--trainer.max_steps", "-1", "--trainer.log_every_n_steps", "1"]
    words += [
        "--trainer.callbacks+",
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "--trainer.callbacks.filename",
        "last",
    ]
    words += ["--trainer.callbacks.every_n_train_steps", "2", "--trainer.callbacks.enable_version_counter", "false"]
    return [*words, *options]


def kill(hook, call, number=signal.SIGKILL):
    chosen = ["--trainer.callbacks.hook", hook, "--trainer.callbacks.call", call]
    return [
        "--trainer.callbacks+",
        "tests.training.processes.KillAt",
        *chosen,
        "--trainer.callbacks.number",
        int(number),
    ]


def resumed(folder, *options):
    checkpoint = last_checkpoint(folder)
    return [*options, *(["--ckpt_path", checkpoint] if checkpoint else [])]


def outcome(folder):
    """All of the last checkpoint but where and when it was written."""
    saved = torch.load(last_checkpoint(folder), weights_only=True)
    best = [state["best_model_score"] for name, state in saved["callbacks"].items() if "'monitor': 'val" in name]
    kept = {name: saved[name] for name in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers")}
    assert len(best) == 1
    return {**kept, "best": best[0]}


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other


@pytest.mark.parametrize(
    "end", [["--trainer.max_steps", "7"], ["--trainer.max_epochs", "3"], ["--trainer.max_time", "00:00:00:01"]]
)
def test_a_training_that_ends_between_validations_is_on_disk(end, torchdau, tmp_path, capsys):
    few = ["--trainer.limit_train_batches", "5", "--trainer.check_val_every_n_epoch", "10"]
    quiet = ["--trainer.enable_progress_bar", "false"]
    torchdau("fit", "--config", ROOT / "recipes/digits_dau.yaml", *few, *quiet, *end)
    last = last_checkpoint(tmp_path)
    assert f"next     torchdau test {last.relative_to(tmp_path)}\n" in capsys.readouterr().out
    reached = torch.load(last_checkpoint(tmp_path), weights_only=True)["global_step"]
    if end[0] == "--trainer.max_time":
        assert reached > 0
        return
    assert reached == {"--trainer.max_steps": 7, "--trainer.max_epochs": 15}[end[0]]
    torchdau("fit", last_checkpoint(tmp_path), *quiet, "--trainer.max_epochs", "-1", "--trainer.max_steps", "20")
    assert torch.load(last_checkpoint(tmp_path), weights_only=True)["global_step"] == 20
    with pytest.raises(SystemExit):  # nothing is left to train
        torchdau("fit", last, *quiet, "--trainer.max_epochs", "1", "--trainer.max_steps", "-1")
    assert not [*tmp_path.glob("runs/**/error.ckpt")]


def test_an_error_leaves_what_was_trained(torchdau, monkeypatch, tmp_path, capsys):
    def fail_at(step):
        def fail(self, trainer, *_):
            if trainer.global_step == step:
                raise RuntimeError("of something else")

        return fail

    options = ["--trainer.enable_progress_bar", "false", "--trainer.callbacks+", "torchdau.training.WatchUnits"]
    for step in (0, 3):
        assert not [*tmp_path.glob("runs/**/error.ckpt")]  # there was nothing to leave
        monkeypatch.setattr(WatchUnits, "on_train_batch_start", fail_at(step))
        with pytest.raises(RuntimeError, match="of something else"):
            torchdau("fit", "--config", ROOT / "recipes/digits_dau.yaml", *options)
    (checkpoint,) = tmp_path.glob("runs/**/error.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 3
    assert f"the training until the error is in {checkpoint.relative_to(tmp_path)}" in capsys.readouterr().err


def test_one_setting_moves_everything(torchdau, tmp_path):
    short = ["--trainer.enable_progress_bar", "false", "--trainer.limit_train_batches", "2"]
    other = ["--trainer.default_root_dir", tmp_path / "other"]
    torchdau("fit", "--config", ROOT / "recipes/digits_dau.yaml", *short, "--trainer.max_epochs", "1", *other)
    (last,) = tmp_path.glob("other/tensorboard/version_0/checkpoints/last.ckpt")
    torchdau("fit", last, *short, "--trainer.max_epochs", "2")  # goes on there
    torchdau("predict", last, *short[:2])
    assert (tmp_path / "other/predictions.csv").exists()
    assert not (tmp_path / "runs").exists()
    (table,) = tmp_path.glob("other/csv/*/metrics.csv")
    with table.open() as file:
        assert [row["epoch"] for row in csv.DictReader(file) if row["val_accuracy"]] == ["0", "1"]
    torchdau("fit", last, *short, "--trainer.max_epochs", "3", "--trainer.default_root_dir", tmp_path / "third")
    assert len([*tmp_path.glob("third/tensorboard/*/checkpoints/last.ckpt")]) == 1


def check(recipe, workers, kills, data, folder, monkeypatch):
    """Kills a training at each of some hooks, resumes it, and compares it with one that was not killed."""
    monkeypatch.setenv("TORCHDAU_DATA", str(data[recipe.partition("_")[0]]))
    options = ["--data.init_args.num_workers", workers]
    whole, killed = folder / "whole", folder / "killed"
    assert run(whole, command(recipe, *options)) == 0, (whole / "log").read_text()
    for hook, call in kills:
        code = run(killed, command(recipe, *options, *kill(hook, call), *resumed(killed)))
        assert code in (-signal.SIGKILL, 0), (killed / "log").read_text()
        wait_until_ended(killed / "log")
    assert run(killed, command(recipe, *options, *resumed(killed))) == 0, (killed / "log").read_text()
    same(outcome(whole), outcome(killed))
    assert len(validations(whole)) == 3
    assert validations(whole) == validations(killed)


def test_a_few_kills(data, tmp_path, monkeypatch):
    kills = [("on_train_batch_end", 7), ("on_validation_batch_end", 1)]
    check("digits_dau", 2, kills, data, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_kills_at_random(seed, data, tmp_path, monkeypatch):
    """Three kills a run, mid-epoch and within validations too."""
    numbers = random.Random(seed)
    kills = [(hook, numbers.randrange(1, 7)) for hook in numbers.choices(HOOKS, (2, 2, 2, 1), k=3)]
    recipe = [*OPTIONS][1 + seed % 3]
    check(recipe, 2 * (seed // 3 % 2), kills, data, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory):
    """Two epochs of digits without a signal."""
    folder = tmp_path_factory.mktemp("unstopped")
    assert run(folder, command("digits_dau", "--trainer.max_epochs", "2")) == 0, (folder / "log").read_text()
    return folder


@pytest.mark.parametrize(
    ("number", "hook", "code"),
    [
        (signal.SIGINT, "on_train_batch_end", 130),
        (signal.SIGTERM, "on_validation_batch_end", 143),
        (signal.SIGHUP, "on_train_batch_end", 129),
        pytest.param(signal.SIGUSR1, "on_train_batch_end", 138, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "on_train_batch_start", 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "on_validation_batch_start", 130, marks=pytest.mark.slow),
    ],
)
def test_signals(number, hook, code, unstopped, tmp_path):
    """A checkpoint is written, and the command that is printed ends as if there had been no signal."""
    quick, never = ["--trainer.max_epochs", "2"], ["--trainer.callbacks.call", "-1"]
    assert run(tmp_path, command("digits_dau", *quick, *kill(hook, 5 if "train" in hook else 4, number))) == code
    steps = torch.load(last_checkpoint(tmp_path), weights_only=True)["global_step"]
    assert steps == {"on_train_batch_start": 6, "on_train_batch_end": 6}.get(hook, 5)
    _, _, printed = (tmp_path / "log").read_text().partition("Go on with: torchdau ")
    assert run(tmp_path, [*shlex.split(printed), *never]) == 0, (tmp_path / "log").read_text()
    same(outcome(unstopped), outcome(tmp_path))
    assert validations(unstopped) == validations(tmp_path)


def test_a_signal_to_all_processes(data, tmp_path, monkeypatch):
    """Ctrl-C in a terminal: worker processes serve the batch in progress."""
    monkeypatch.setenv("TORCHDAU_DATA", str(data["camvid"]))
    options = ["--data.init_args.num_workers", "2", *kill("on_train_batch_start", 2, signal.SIGINT)]
    assert run(tmp_path, command("camvid_dau_resnet18", *options)) == 130, (tmp_path / "log").read_text()
    assert torch.load(last_checkpoint(tmp_path), weights_only=True)["global_step"] == 3


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        ([], 0.0025),
        (["--model.init_args.scheduler", "null"], 0.0025),
        (
            [
                *["--model.init_args.scheduler", "torch.optim.lr_scheduler.StepLR"],
                *["--model.init_args.scheduler.init_args.step_size", "1"],
                *["--model.init_args.scheduler.init_args.gamma", "0.5"],
            ],
            0.0025 * 0.5**3,
        ),
    ],
)
def test_a_resumed_training_follows_its_own_rates(schedule, rate, torchdau, tmp_path):
    short = ["--trainer.enable_progress_bar", "false", "--trainer.limit_train_batches", "2"]
    torchdau("fit", "--config", "recipes/digits_dau.yaml", *short, *schedule, "--trainer.max_epochs", "2")
    options = ["--model.init_args.lr", "0.0025", "--model.init_args.weight_decay", "0.5", "--trainer.max_epochs", "3"]
    torchdau("fit", last_checkpoint(tmp_path), *short, *options)
    groups = torch.load(last_checkpoint(tmp_path), weights_only=True)["optimizer_states"][0]["param_groups"]
    weights = next(group for group in groups if group["name"] == "weights")
    assert weights["weight_decay"] == 0.5
    if not schedule:  # MultiStepDecay, at its end of three epochs
        rate *= 0.1
    assert weights["lr"] == pytest.approx(rate)


def test_a_checkpoint_of_another_network_is_named(torchdau, tmp_path, capsys):
    torchdau("fit", "--config", "recipes/digits_dau.yaml", *SHORTEST)
    last = last_checkpoint(tmp_path)
    for command in ("fit", "test"):
        with pytest.raises(SystemExit) as end:
            torchdau(command, last, "--model.init_args.network.init_args.num_units", "3")
        assert "the checkpoint must be of the network of these settings, got another: size mismatch" in end.value.code


def test_a_finished_training_says_so_in_another_folder(torchdau, tmp_path, capsys):
    torchdau("fit", "--config", "recipes/digits_dau.yaml", *SHORTEST)
    capsys.readouterr()
    torchdau("fit", last_checkpoint(tmp_path), "--trainer.default_root_dir", tmp_path / "other")
    assert "done     already at the end: give --trainer.max_epochs for more" in capsys.readouterr().out
