"""The page about a network, as a browser shows it, and what it says where something is missing."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import vl_convert
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from torchdau.analysis import LayerUnits, displacement_distribution, moved, units_of
from torchdau.analysis.charts import CELLS
from torchdau.models import dau_resnetv2
from torchdau.training.checkpoints import write_checkpoint
from torchdau.training.logs import read_scalars
from torchdau.training.report import sections as command
from torchdau.training.report.headline import amount
from torchdau.training.report.page import write
from torchdau.training.restoring import restore_network, restore_start
from torchdau_cli.main import main

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium to show pages")


def fit(recipe, folder, *options):
    """Trains a digits recipe a little; returns its checkpoint."""
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2"]
    words = ["torchdau", "fit", "--config", ROOT / f"recipes/{recipe}.yaml", *quiet, *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [*map(str, words), "--trainer.limit_train_batches", "5"])
        main()
    (last,) = folder.glob("runs/**/last.ckpt")
    return last


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    return fit("digits_dau", tmp_path_factory.mktemp("units"), "--trainer.callbacks+", "torchdau.training.WatchUnits")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return fit("digits_conv", tmp_path_factory.mktemp("plain"))


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


def with_script(page, script):
    """A copy of a page that runs a script at its end."""
    copy = page.with_name(f"{page.stem}_with_script.html")
    text, end, rest = page.read_text().rpartition("</body>")
    copy.write_text(f"{text}<script>{script}</script>{end}{rest}")
    return copy


def shown(page, script):
    """The text of a page's DOM once it is drawn, and what the browser complained of."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=20000", "--dump-dom", with_script(page, script).as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


STEP_THROUGH = """
addEventListener("load", () => setTimeout(async () => {
  const seen = {};
  for (const menu of document.querySelectorAll("select")) {
    const figure = menu.closest("figure");
    for (const option of [...menu.options]) {
      menu.value = option.value;
      menu.dispatchEvent(new Event("input"));
      menu.dispatchEvent(new Event("change"));
      await new Promise(done => setTimeout(done, 200));
      const key = figure.getAttribute("aria-label") + " / " + option.text;
      seen[key] = figure.querySelector(".mark-rect").querySelectorAll("path").length;
    }
  }
  const note = document.createElement("pre");
  note.id = "seen";
  note.textContent = JSON.stringify(seen);
  document.body.append(note);
}, 1000));
"""


@browser
def test_a_browser_shows_it(units, plain, torchdau, tmp_path, capsys):
    torchdau("report", units, "--compare", plain, "--output", "page/report.html")
    assert "written: page/report.html" in capsys.readouterr().out
    page = tmp_path / "page/report.html"
    assert page.stat().st_size < 2_000_000
    own = page.read_text().replace(vl_convert.javascript_bundle(), "")
    assert not re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=|https?:(?!//vega.github.io/schema)", own)
    dom, complaints = shown(page, STEP_THROUGH)
    assert complaints == []
    charts = re.findall(r'<div id="chart-[^"]*"', dom)
    assert len(charts) == len(re.findall(r'<svg[^>]*class="marks"', dom)) >= 4
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', dom)[1])
    layers = [name for name in seen if name.startswith("Where")]
    assert all(seen.values()), seen
    for heading in ("Summary", "Where units went", "What a layer sees", "Training", "Layers", "Pruning"):
        assert f">{heading}</h2>" in dom
    assert "<title>dau_cifarnet on Digits</title>" in dom
    accuracy = [read_scalars(path)["val_accuracy"][-1][1] for path in (units, plain)]
    parameters = [sum(p.numel() for p in restore_network(path).parameters()) for path in (units, plain)]
    cells = [
        f"<td>{a:.1%}</td><td>{u}</td><td>{p:,}</td>"
        for a, u, p in zip(accuracy, ("6,208", "none"), parameters, strict=True)
    ]
    assert all(cell in dom for cell in cells), cells
    difference = 100 * (accuracy[0] - accuracy[1])
    words = f"its accuracy is {abs(difference):.1f} points {'higher' if difference > 0 else 'lower'}"
    assert f"has {1 - parameters[0] / parameters[1]:.0%} fewer parameters than cifarnet, and {words}" in dom
    assert f"cifarnet: {plain}, " in dom
    distance = units_of(restore_network(units))[0].distance.mean()
    cells = [int((displacement_distribution(layer, CELLS)[0] > 0).sum()) for layer in units_of(restore_network(units))]
    assert len(set(cells)) == len(layers) == 3  # other layers, other pictures
    assert [seen[name] for name in layers] == cells
    went = moved(units_of(restore_network(units))[0], units_of(restore_start(units))[0]).mean()
    assert f"<td>{distance:.2f} px</td><td>{went:.2f} px</td>" in dom
    assert went > 0.005


@browser
def test_it_fits_a_phone(units, plain, torchdau, tmp_path):
    """In a frame, as no window of Chromium is narrower than 500 pixels."""
    torchdau("report", units, "--compare", plain)
    measure = """setTimeout(() => parent.postMessage(`${innerWidth} ${document.documentElement.scrollWidth} ${
    Math.max(...[...document.querySelectorAll("svg.marks")].map(s => s.getBoundingClientRect().right))}`, "*"), 3000)"""
    inside = with_script(tmp_path / "report.html", measure)
    phone = tmp_path / "phone.html"
    phone.write_text(f'<body><iframe src="{inside.name}" width="390" height="2000" style="border: 0"></iframe></body>')
    note = """onmessage = ({ data }) => document.body.insertAdjacentHTML("beforeend", `<pre id="seen">${data}</pre>`)"""
    dom, complaints = shown(phone, note)
    assert complaints == []
    width, page, charts = map(float, re.search(r'<pre id="seen">([\d. ]+)', dom)[1].split())
    assert width == 390
    assert page <= width
    assert charts <= width


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


@pytest.mark.slow
def test_a_page_of_a_deep_network_is_small(tmp_path):
    networks = {"DAU-ResNet-50": dau_resnetv2("resnetv2_50")}
    images = torch.randn(1, 3, 224, 224)
    sections = [command._layers(networks, {}, images), command._displacements(networks, {})]
    sections.append(command._receptive_fields(networks, images, "noise", 2))
    write(tmp_path / "page.html", "DAU-ResNet-50", sections)
    assert (tmp_path / "page.html").stat().st_size < 5_000_000
