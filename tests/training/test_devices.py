"""Several processes: what they learn, and what becomes of them when one is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.data.layouts import make_gopro
from tests.training.processes import last_checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


def start(folder, data, batch, epochs, *options):
    words = [sys.executable, "-m", "torchdau", "fit", "--config", ROOT / "recipes/gopro_dau_srn.yaml"]
    words += ["--model.init_args.network.init_args.widths", "[4, 4, 4]", "--data.init_args.crop", "32"]
    words += ["--data.init_args.num_workers", "1", "--data.init_args.batch_size", batch, "--trainer.accelerator", "cpu"]
    words += ["--trainer.max_epochs", epochs, "--trainer.check_val_every_n_epoch", "1", *options]
    words += ["--trainer.enable_progress_bar", "false"]
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"TORCHDAU_DATA": str(data), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("w") as log:
        return subprocess.Popen([*map(str, words)], cwd=folder, env=environment, stdout=log, stderr=log)


def run(folder, *arguments):
    assert start(folder, *arguments).wait(600) == 0, (folder / "log").read_text()
    return torch.load(last_checkpoint(folder), weights_only=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_gopro(tmp_path_factory.mktemp("gopro"), count=8)


def test_two_processes_learn_what_one_does(data, tmp_path):
    """With the same batches: sums of gradients differ by their order only."""
    two = run(tmp_path / "two", data, 4, 3, *TWO)
    one = run(tmp_path / "one", data, 2, 3, "--trainer.accumulate_grad_batches", "2")
    assert one["global_step"] == two["global_step"] == 6
    first, second = one["state_dict"], two["state_dict"]
    differences = [(first[name] - second[name]).abs().max().item() for name in first]
    assert max(differences) < 1e-5


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_leaves_what_was_trained(rank, data, tmp_path):
    fail = ["--trainer.callbacks+", "tests.training.processes.FailAt", "--trainer.callbacks.rank", rank]
    process = start(tmp_path / "run", data, 4, 1000, *TWO, *fail, "--trainer.callbacks.step", 3)
    assert process.wait(200) != 0
    assert "the training until the error is in" in (tmp_path / "run/log").read_text()
    (checkpoint,) = tmp_path.glob("run/**/error.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 3
    assert run(tmp_path / "run", data, 4, 3, *TWO, "--ckpt_path", checkpoint)["global_step"] == 6


def children(pid):
    """Processes of ranks above 0, which Lightning starts."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", "torchdau"], capture_output=True, text=True, check=False)
    ranks = [int(line) for line in found.stdout.split()]
    return [rank for rank in ranks if b"LOCAL_RANK=1" in Path(f"/proc/{rank}/environ").read_bytes()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_killed_ends_the_others(rank, data, tmp_path):
    process = start(tmp_path / "run", data, 4, 1000, *TWO)
    end = time.monotonic() + 200
    while not last_checkpoint(tmp_path / "run"):
        assert process.poll() is None, (tmp_path / "run/log").read_text()
        assert time.monotonic() < end
        time.sleep(0.2)
    (other,) = children(process.pid)
    os.kill((process.pid, other)[rank], signal.SIGKILL)
    start_of_end = time.monotonic()
    while alive(other) or process.poll() is None:
        assert time.monotonic() - start_of_end < 60, "the other process goes on"
        time.sleep(0.1)
    said = (tmp_path / "run/log").read_text()
    reasons = "Connection closed by peer", "Connection reset", "terminated with code"
    assert any(reason in said for reason in reasons), said[-2000:]
    saved = torch.load(last_checkpoint(tmp_path / "run"), weights_only=True)
    epochs = saved["epoch"] + 2
    checkpoint = last_checkpoint(tmp_path / "run")
    assert run(tmp_path / "run", data, 4, epochs, *TWO, "--ckpt_path", checkpoint)["epoch"] == epochs - 1
