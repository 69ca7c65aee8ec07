"""A loss or gradient that is not finite ends a training at that step; files and module are named."""

from pathlib import Path

import pytest
import torch
from lightning import Callback

from tests.training.data.layouts import make_folder, make_gopro, make_pairs
from torchdau.training.checkpoints import read_checkpoint

ROOT = Path(__file__).parents[2]


class Break(Callback):
    """Makes something not finite at one step.

    Args:
        what: a parameter, by its name, or "images" or "gradient".
        step: from 0.
    """

    def __init__(self, what: str, step: int):
        self.what, self.step = what, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and self.what == "images":
            batch[0][1, 0, 0, 0] = torch.nan
        elif trainer.global_step == self.step and self.what != "gradient":
            with torch.no_grad():
                pl_module.get_parameter(self.what).view(-1)[0] = torch.inf

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == self.step and self.what == "gradient":
            pl_module.network.features[4].weight.grad.view(-1)[3] = torch.nan


def words(recipe, what, step=4, *options):
    found = ["fit", "--config", ROOT / f"recipes/{recipe}.yaml", "--trainer.enable_progress_bar", "false", *options]
    found += ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3"]
    found += ["--trainer.callbacks+", "tests.training.test_finite.Break", "--trainer.callbacks.what", what]
    return [*found, "--trainer.callbacks.step", step]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "network.features.4.weight",
            r"loss must be finite, got (nan|inf), in step 4 \(epoch 1, batch 1\), .* in features.4\.",
        ),
        ("images", r"loss must be finite, got nan, in step 4 .* at first in the images themselves\."),
        ("gradient", r"gradients must be finite, got others, in step 4 \(epoch 1, batch 1\), at first in features.4\."),
    ],
)
def test_a_step_that_is_not_finite(what, said, torchdau, tmp_path):
    with pytest.raises(SystemExit, match=f"torchdau fit: {said}.* The batch: sample \\d+, sample"):
        torchdau(*words("digits_dau", what))
    (last,) = tmp_path.glob("runs/**/last.ckpt")
    saved = read_checkpoint(last)
    assert saved["global_step"] == 3
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    torchdau("test", "--ckpt_path", last, "--trust", "tests")


def test_files_are_named(torchdau, tmp_path, monkeypatch):
    """Those of this very batch: what is drawn for it is marked in the files."""
    make_folder(tmp_path / "data", classes=[f"class{n}" for n in range(10)], count=3)
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path / "data"))
    options = ["--data.init_args.batch_size", "2", "--data.init_args.num_workers", "2"]
    with pytest.raises(SystemExit, match=r"batch 1\).* The batch: \S*/train/class\d/\S+, \S*/train/class\d/\S+\.$"):
        torchdau(*words("cifar10_dau", "images", 4, *options))


def test_a_network_with_many_outputs(torchdau, tmp_path, monkeypatch):
    make_gopro(tmp_path / "data", count=4)
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path / "data"))
    options = ["--data.init_args.batch_size", "2", "--data.init_args.crop", "32", "--data.init_args.num_workers", "0"]
    options += ["--model.init_args.network.init_args.widths", "[4, 4, 4]"]
    with pytest.raises(
        SystemExit, match=r"in step 1 .* at first in decoder.2.0.convolutions.2\..*/blur/\S* and \S*/sharp/"
    ):
        torchdau(*words("gopro_dau_srn", "network.decoder.2.0.convolutions.2.weight", 1, *options))


def no_data(folder):
    return []


def segmentation(folder):
    make_pairs(folder, count=4)
    return ["--data.init_args.crop", "33", "--data.init_args.batch_size", "2"]


def deblurring(folder):
    make_gopro(folder, count=4)
    small = ["--data.init_args.crop", "32", "--data.init_args.batch_size", "2"]
    return [*small, "--model.init_args.network.init_args.widths", "[4, 4, 4]"]


@pytest.mark.parametrize(
    ("recipe", "make"),
    [
        ("digits_dau", no_data),
        pytest.param("camvid_dau_resnet18", segmentation, marks=pytest.mark.slow),
        pytest.param("gopro_dau_srn", deblurring, marks=pytest.mark.slow),
    ],
)
def test_deterministic_runs_are_equal(recipe, make, torchdau, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path / "data"))
    more = make(tmp_path / "data")
    states = []
    for number in range(2):
        options = ["--trainer.deterministic", "true", "--trainer.default_root_dir", number, *more]
        torchdau(*words(recipe, "images", 100, *options))
        (last,) = tmp_path.glob(f"{number}/**/last.ckpt")
        states.append(read_checkpoint(last)["state_dict"])
        torch.rand(number + 1)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.are_deterministic_algorithms_enabled() or torch.use_deterministic_algorithms(False) is None
