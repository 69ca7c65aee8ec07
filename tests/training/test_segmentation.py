"""The segmentation task: its loss and scores by hand, where its weights come from, what it writes."""

import csv
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from timm.layers import BatchNormAct2d
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.training.data.layouts import make_folder, make_pairs, save_image
from tests.training.test_recipes import ONE_STEP
from torchdau.analysis.confusion import scores
from torchdau.training import Segmentation
from torchdau.training.data.masks import colour_map
from torchdau.training.restoring import restore_start

ROOT = Path(__file__).parents[2]


class ByRed(nn.Module):
    """Says class 1 of 3 where red is above 0, else class 0; never class 2."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(math.log(2)))

    def forward(self, images):
        one = (images[:, 0] > 0).float()
        return torch.stack([1 - one, one, torch.zeros_like(one)], 1) * self.scale


def trainer(tmp_path):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(max_epochs=1, enable_checkpointing=False, default_root_dir=tmp_path, **options)


def loader(red, masks):
    images = torch.tensor(red)[:, None].expand(-1, 3, -1, -1)
    return DataLoader(TensorDataset(images, torch.tensor(masks, dtype=torch.uint8)), batch_size=1)


RED = [[[1.0, 1.0], [-1.0, -1.0]], [[1.0, 1.0], [1.0, 1.0]]]
MASKS = [[[1, 0], [0, 255]], [[1, 1], [0, 255]]]
# of 6 pixels: class 0 has 3, of which 1 found; class 1 has 3, all found, and 2 more said


@pytest.mark.parametrize("tile", [None, 1])
def test_scores_of_the_whole_set(tile, tmp_path):
    """IoU 1 / 3 and 3 / 5; class 2 is in neither, and does not count; 255 neither."""
    task = Segmentation(ByRed(), tile=tile, overlap=0)
    task.classes = ["no", "red", "never"]
    (metrics,) = trainer(tmp_path).test(task, loader(RED, MASKS), verbose=False)
    assert metrics["test_miou"] == pytest.approx((1 / 3 + 3 / 5) / 2)
    assert metrics["test_mean_accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert metrics["test_accuracy"] == pytest.approx(4 / 6)
    with open(tmp_path / "test_classes.csv") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert rows["no"] == {"class": "no", "iou": "0.3333", "accuracy": "0.3333"}
    assert rows["red"] == {"class": "red", "iou": "0.6000", "accuracy": "1.0000"}
    assert rows["never"] == {"class": "never", "iou": "nan", "accuracy": "nan"}
    (again,) = trainer(tmp_path).test(task, loader(RED, MASKS), verbose=False)
    assert again == metrics  # nothing is kept from the first time


def test_a_class_that_is_predicted_alone_counts_as_missed():
    result = scores(torch.tensor([[3, 1, 0], [0, 0, 0], [0, 0, 4]]))
    torch.testing.assert_close(result.iou, torch.tensor([0.75, 0, 1], dtype=torch.float64))
    assert result.mean_iou == pytest.approx(1.75 / 3)
    assert result.mean_accuracy == pytest.approx((0.75 + 1) / 2)  # it has no true pixel


def test_loss():
    """The mean over all pixels that count: ln 4 - ln 2 where right, ln 4 where wrong."""
    task = Segmentation(ByRed())
    task.log = lambda *args, **kwargs: None
    batch = next(iter(DataLoader(loader(RED, MASKS).dataset, batch_size=2)))
    loss = task.training_step(batch, 0)
    assert loss.item() == pytest.approx((4 * math.log(2) + 2 * math.log(4)) / 6)
    nothing = task.training_step((batch[0], torch.full_like(batch[1], 255)), 0)
    assert nothing.item() == 0


def test_tiles_see_what_the_whole_image_shows(tmp_path):
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 5, padding=2)
    network.num_classes = 4
    images = torch.randn(1, 3, 50, 70)
    whole = Segmentation(network).predict_step((images, None), 0)
    assert torch.equal(Segmentation(network, tile=24, overlap=6).predict_step((images, None), 0), whole)
    assert whole.dtype == torch.uint8


CAMVID = ["--data.init_args.crop", "33", "--data.init_args.batch_size", "2", "--data.init_args.num_workers", "0"]
SHORT = ["--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false"]
SHORT += ["--trainer.check_val_every_n_epoch", "1", "--trainer.val_check_interval", "1.0"]


def test_fit_test_predict(torchdau, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TORCHDAU_DATA", str(make_pairs(tmp_path / "data")))
    torchdau("fit", "--config", ROOT / "recipes/camvid_dau_resnet18.yaml", *CAMVID, *SHORT)
    (checkpoint,) = tmp_path.glob("runs/camvid/**/last.ckpt")
    torchdau("test", "--ckpt_path", checkpoint)
    shown = capsys.readouterr().out
    assert "bicyclist" in shown
    assert "test_miou" in shown
    monkeypatch.delenv("TORCHDAU_DATA")
    save_image(tmp_path / "photos/a.JPG", 300, 200)
    save_image(tmp_path / "photos/inside/b.png", 90, 41)
    torchdau("predict", "--ckpt_path", checkpoint, "--data.init_args.pictures", tmp_path / "photos")
    for name, size in {"a": (300, 200), "inside/b": (90, 41)}.items():
        with Image.open(tmp_path / f"runs/camvid/masks/{name}.png") as mask:
            assert (mask.mode, mask.size) == ("P", size)
            assert np.asarray(mask).max() < 11
            assert mask.getpalette()[:33] == [value for colour in colour_map(12)[1:] for value in colour]
        with Image.open(tmp_path / f"runs/camvid/overlays/{name}.png") as overlay:
            assert (overlay.mode, overlay.size) == ("RGB", size)


def test_pictures_whose_names_differ_in_their_endings_alone(torchdau, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHDAU_DATA", str(make_pairs(tmp_path / "data")))
    torchdau("fit", "--config", ROOT / "recipes/camvid_dau_resnet18.yaml", *CAMVID, *SHORT)
    (checkpoint,) = tmp_path.glob("runs/camvid/**/last.ckpt")
    save_image(tmp_path / "photos/a.jpg")
    save_image(tmp_path / "photos/a.png")
    torchdau("predict", "--ckpt_path", checkpoint, "--data.init_args.pictures", tmp_path / "photos")
    assert sorted(path.name for path in tmp_path.glob("runs/camvid/masks/*")) == ["a.jpg.png", "a.png.png"]


def test_a_classification_checkpoint_to_start_from(torchdau, monkeypatch, tmp_path):
    """Through the command line, and without it afterwards."""
    names = [f"class{number}" for number in range(10)]
    monkeypatch.setenv("TORCHDAU_DATA", str(make_folder(tmp_path / "images", classes=names, count=1)))
    network = "--model.init_args.network"
    small = [network, "torchdau.models.dau_resnetv2", f"{network}.name", "resnetv2_18", f"{network}.num_classes", "10"]
    small += [f"{network}.width_factor", "0.5", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    batches = [option for option in ONE_STEP if option not in ("--trainer.fast_dev_run", "1")]
    torchdau("fit", "--config", ROOT / "recipes/cifar10_dau_resnet20.yaml", *small, *batches)
    (classifier,) = tmp_path.glob("runs/cifar10/**/last.ckpt")
    monkeypatch.setenv("TORCHDAU_DATA", str(make_pairs(tmp_path / "data")))
    recipe = ["--config", ROOT / "recipes/camvid_dau_resnet18.yaml", *CAMVID, *SHORT]
    still = ["--model.init_args.lr", "0", "--model.init_args.displacement_lr", "0"]
    torchdau("fit", *recipe, *still, "--model.init_args.pretrained", classifier)
    (checkpoint,) = tmp_path.glob("runs/camvid/**/last.ckpt")
    trained, found = (torch.load(path, weights_only=True)["state_dict"] for path in (classifier, checkpoint))
    for name in ("stem.conv.weight", "stages.1.blocks.0.conv1.1.displacement", "stages.2.blocks.1.conv2.weight"):
        assert torch.equal(trained[f"network.{name}"], found[f"network.encoder.{name}"]), name
    assert restore_start(checkpoint) is None  # its seed does not tell
    classifier.unlink()
    torchdau("test", "--ckpt_path", checkpoint)
    torchdau("fit", "--ckpt_path", checkpoint, "--trainer.max_steps", "2")
    assert [*tmp_path.glob("runs/camvid/**/last.ckpt")] == [checkpoint]  # it went on in the same folder
    assert restore_start(checkpoint) is None


def test_a_checkpoint_of_another_network(torchdau, monkeypatch, tmp_path):
    torchdau("fit", "--config", ROOT / "recipes/digits_conv.yaml", "--trainer.limit_train_batches", "1", *SHORT)
    (classifier,) = tmp_path.glob("runs/digits/**/last.ckpt")
    monkeypatch.setenv("TORCHDAU_DATA", str(make_pairs(tmp_path / "data")))
    recipe = ["--config", ROOT / "recipes/camvid_dau_resnet18.yaml", *CAMVID, *SHORT]
    with pytest.raises(
        SystemExit, match=r"pretrained must be a checkpoint of a network with these layers, got '.*last"
    ):
        torchdau("fit", *recipe, "--model.init_args.pretrained", classifier)


@pytest.mark.slow
def test_two_processes_count_every_image_once(torchdau, monkeypatch, tmp_path):
    """Of three images each sees one or two; the scores are those of one process."""
    monkeypatch.setenv("TORCHDAU_DATA", str(make_pairs(tmp_path / "data")))
    torchdau("fit", "--config", ROOT / "recipes/camvid_dau_resnet18.yaml", *CAMVID, *SHORT)
    (checkpoint,) = tmp_path.glob("runs/camvid/**/last.ckpt")
    options = ["--ckpt_path", str(checkpoint), "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    torchdau("test", *options, "--trainer.devices", "1")
    table = tmp_path / "runs/camvid/test_classes.csv"
    alone = table.read_text()
    table.unlink()
    command = [
        sys.executable,
        "-m",
        "torchdau",
        "test",
        *options,
        "--trainer.devices",
        "2",
        "--trainer.strategy",
        "ddp",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert table.read_text() == alone


def test_norms_that_would_lose_their_activations():
    network = nn.Sequential(BatchNormAct2d(3))
    network.num_classes = 2
    task = Segmentation(network)
    task._trainer = SimpleNamespace(strategy=SimpleNamespace(_layer_sync=object()))  # as of sync_batchnorm
    with pytest.raises(
        ValueError, match="sync_batchnorm must be false for Sequential, whose norms, timm's BatchNormAct2d"
    ):
        task.setup("fit")


def test_more_classes_than_a_mask_can_hold(tmp_path):
    network = ByRed()
    network.num_classes = 256
    with pytest.raises(ValueError, match="num_classes must be at most 255, got num_classes=256"):
        trainer(tmp_path).test(Segmentation(network), loader(RED, MASKS), verbose=False)
