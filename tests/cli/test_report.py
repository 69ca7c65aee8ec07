"""The page about a network: what it says, also where something is missing, and what it refuses."""

import json
import re
import shutil

import pytest
import torch

from tests.cli.conftest import fit
from torchdau.analysis import LayerUnits
from torchdau.models import dau_resnetv2
from torchdau.training.checkpoints import write_checkpoint
from torchdau.training.logs import read_scalars
from torchdau.training.report import sections as command
from torchdau.training.report.headline import amount
from torchdau.training.report.page import write
from torchdau.training.restoring import restore_network, restore_start


def test_what_units_did_in_a_sentence():
    def layer(name, *places):
        displacement = torch.tensor(places)
        ones = torch.ones(len(places))
        return LayerUnits(name, displacement, ones, ones / 2, 4.0)

    start = {"0": layer("0", (0.0, 1.0), (1.0, 0.0)), "1": layer("1", (0.0, 2.0))}
    now = {"0": layer("0", (0.0, 4.0), (1.0, 0.0)), "1": layer("1", (0.0, 1.0))}
    assert command._learned("net", now, start) == (
        "The reach of the units of net grew from 1.33 to 2.00 pixels in the mean; they moved by 1.33 pixels, and "
        "33.3% are at their bound."
    )
    assert "shrank from 2.00 to 1.33" in command._learned("net", start, now)
    assert command._learned("net", now, {}) == (
        "The units of net reach 2.00 pixels in the mean; 33.3% are at their bound."
    )


def test_amounts():
    assert [amount(n) for n in (12, 12_345, 1_234_567, 9.87e9)] == ["12", "12.3 k", "1.23 M", "9.87 G"]


def test_a_page_is_not_replaced(units, torchdau, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(SystemExit, match=r"output must not be there yet, got 'report.html'. Give --overwrite true"):
        torchdau("report", units)
    assert (tmp_path / "report.html").read_text() == "mine"
    torchdau("report", units, "--overwrite", "true")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_what_is_missing_is_said(plain, torchdau, tmp_path):
    """No units, no logs."""
    moved = shutil.copy(plain, tmp_path / "alone.ckpt")
    torchdau("report", moved)
    text = (tmp_path / "report.html").read_text()
    assert "There are no unit layers." in text
    assert "There are no units to show." in text
    assert "<td>not known</td>" in text  # its accuracy
    assert "has no units to remove" in text
    assert "there are no logs of TensorBoard beside" in text
    assert 'id="chart-3-1"' in text  # its receptive field is there


def test_what_is_no_table_of_pruning(units, torchdau, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match=r"prune_curve must be a table .* prune-curve wrote, got 'other.csv'"):
        torchdau("report", units, "--prune_curve", "other.csv")


def test_a_checkpoint_of_another_version(units, torchdau, tmp_path):
    saved = torch.load(units, weights_only=True)
    saved["config"] = saved["config"].replace("num_units:", "old_units:")
    write_checkpoint(saved, tmp_path / "old.ckpt")
    with pytest.raises(SystemExit, match=r"classes and arguments that torchdau .* knows, got 'old.ckpt': .*old_units"):
        torchdau("report", "old.ckpt")


@pytest.mark.parametrize("words", ["report {} --compare {}", "plot {} receptive-fields --compare {}"])
def test_networks_for_other_images_are_not_compared(words, units, torchdau, tmp_path):
    saved = torch.load(units, weights_only=True)
    saved["config"] = saved["config"].replace("in_channels: 1", "in_channels: 3")
    for name in ("weight", "displacement"):
        key = f"network.features.0.{name}"
        saved["state_dict"][key] = saved["state_dict"][key].repeat(1, 3, *[1] * (saved["state_dict"][key].ndim - 2))
    write_checkpoint(saved, tmp_path / "colours.ckpt")
    with pytest.raises(SystemExit, match="compare must be of a network for the same images, got one for others: input"):
        torchdau(*words.format(units, tmp_path / "colours.ckpt").split())


def test_data_that_are_not_there(units, torchdau, tmp_path):
    """The receptive field is that of noise then."""
    saved = torch.load(units, weights_only=True)
    other = {"class_path": "torchdau.training.ImageFolderData", "init_args": {"root": str(tmp_path / "gone")}}
    saved["config"] = re.sub(r"(?ms)^data:.*?(?=^\w|\Z)", f"data: {json.dumps(other)}\n", saved["config"])
    write_checkpoint(saved, tmp_path / "moved.ckpt")
    torchdau("report", "moved.ckpt", "--size", "8")
    assert "noise of 8 x 8 px, because its data set is not there" in (tmp_path / "report.html").read_text()


def test_where_units_started(units, tmp_path):
    """With rates of 0 a training ends where it started."""
    still = ["--model.init_args.lr", "0", "--model.init_args.displacement_lr", "0"]
    checkpoint = fit("digits_dau", tmp_path, *still)
    before, after = restore_start(checkpoint).state_dict(), restore_network(checkpoint).state_dict()
    moving = [name for name in before if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert len(moving) > 4
    for name in moving:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=0)
    moved = restore_start(units).state_dict()
    torch.testing.assert_close(moved, before)


def test_training_curves_are_of_the_whole_network(units):
    scalars = read_scalars(units)
    assert [step for step, _ in scalars["val_accuracy"]] == [4, 9]
    assert not [name for name in scalars if name.startswith(("units/", "lr-")) or name == "epoch"]


@pytest.mark.slow
def test_a_page_of_a_deep_network_is_small(tmp_path):
    networks = {"DAU-ResNet-50": dau_resnetv2("resnetv2_50")}
    images = torch.randn(1, 3, 224, 224)
    sections = [command._layers(networks, {}, images), command._displacements(networks, {})]
    sections.append(command._receptive_fields(networks, images, "noise", 2))
    write(tmp_path / "page.html", "DAU-ResNet-50", sections)
    assert (tmp_path / "page.html").stat().st_size < 5_000_000
