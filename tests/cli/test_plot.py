"""Pictures of what units learned, and what is watched during a training."""

import re

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from torchdau.training.checkpoints import write_checkpoint
from torchdau.training.restoring import restore_start


@pytest.mark.parametrize("kind", ["displacements", "distances", "receptive-fields"])
def test_pictures(kind, units, torchdau, tmp_path, capsys):
    torchdau("plot", units, kind, "--output", f"out/{kind}.png")
    assert (tmp_path / f"out/{kind}.png").read_bytes().startswith(b"\x89PNG")
    assert f"written: out/{kind}.png" in capsys.readouterr().out


def test_pictures_of_what_has_no_units(plain, units, torchdau):
    with pytest.raises(SystemExit, match=r"model must have learned sigmas, got all at 0.5 pixels"):
        torchdau("plot", units, "sigmas")
    with pytest.raises(SystemExit, match="model must have at least one DAUConv2d layer"):
        torchdau("plot", plain, "displacements")
    with pytest.raises(SystemExit, match=r"layer must be the name of a layer of the model, .* got layer='nothing'"):
        torchdau("plot", plain, "receptive-fields", "--layers", "[nothing]")


@pytest.mark.parametrize("change", ["seed_everything: true", "seed_everything: null", "pretrained"])
def test_a_start_that_is_not_known(change, units, torchdau, tmp_path):
    saved = torch.load(units, weights_only=True)
    if change == "pretrained":
        saved["pretrained"] = "other.ckpt"
    else:
        saved["config"] = re.sub("seed_everything: .*", change, saved["config"])
    write_checkpoint(saved, tmp_path / "other.ckpt")
    assert restore_start("other.ckpt") is None
    torchdau("plot", "other.ckpt", "displacements")
    assert (tmp_path / "displacements.png").exists()
    with pytest.raises(
        SystemExit, match=r"output must not be there yet, got 'displacements.png'. Give --overwrite true"
    ):
        torchdau("plot", "other.ckpt", "displacements")
    torchdau("plot", "other.ckpt", "displacements", "--overwrite", "true")


def test_units_are_watched(units):
    events = EventAccumulator(str(units.parent.parent)).Reload()
    (unit_layer, *_) = sorted({tag.split("/")[1] for tag in events.Tags()["scalars"] if tag.startswith("units/")})
    assert [event.step for event in events.Scalars(f"units/{unit_layer}/at_bound")] == [5, 10]
    assert 0 < events.Scalars(f"units/{unit_layer}/mean_distance")[0].value < 5
    steps, in_all = (
        [e.value for e in events.Scalars(f"units/{unit_layer}/{tag}")] for tag in ("moved", "moved_in_all")
    )
    assert steps[0] == in_all[0] > 0
    assert max(in_all[0], steps[1]) <= in_all[1] + 1e-3 <= sum(steps) + 2e-3
    assert f"units/{unit_layer}/distance" in events.Tags()["histograms"]
    assert "units" in events.Tags()["images"]
