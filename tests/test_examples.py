"""The examples run as they stand, in a folder of their own, and do what they say."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from timm.optim import create_optimizer_v2

import torchdau
from tests.training.data.layouts import save_image

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_every_example_is_tested():
    found = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert found == {"own_network.py", "finetune_timm.py", "export_onnx.py", "analysis.ipynb"}


def run(name, folder):
    command = [sys.executable, EXAMPLES / f"{name}.py"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", ["own_network", "finetune_timm"])
def test_examples_learn(name, tmp_path):
    accuracies = [float(each) for each in re.findall(r"accuracy (\d+\.\d)%", run(name, tmp_path))]
    assert len(accuracies) > 4
    assert accuracies[-1] > 95
    if name == "finetune_timm":
        assert accuracies[-1] == accuracies[-2], "what is loaded is what was saved"


@pytest.mark.parametrize("name", ["own_network", "finetune_timm"])
def test_with_timms_optimizers(name, monkeypatch):
    """No displacement of a converted model decays; for a model of one's own, a warning says so."""
    plain = torchdau.optimizer

    def optimizer(model, kind, lr, weight_decay, **options):
        layers = [layer for layer in model.modules() if isinstance(layer, torchdau.DAUConv2d)]
        if not layers:  # the model is not converted yet
            return plain(model, kind, lr, weight_decay, **options)
        made = create_optimizer_v2(model, "adamw", lr=lr, weight_decay=weight_decay)
        decay = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
        assert {decay[id(layer.displacement)] for layer in layers} == {weight_decay if name == "own_network" else 0}
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        with pytest.warns(UserWarning, match="decay towards 0" if name == "own_network" else "hardly moves them"):
            made.step()
        raise KeyboardInterrupt  # no need to train

    monkeypatch.setattr(torchdau, "optimizer", optimizer)
    with pytest.raises(KeyboardInterrupt):
        runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_export_onnx(tmp_path):
    output = run("export_onnx", tmp_path)
    assert float(re.search(r"largest difference: (\S+)", output)[1]) < 1e-4
    assert "torch and torchdau imported: neither" in output


def results(notebook):
    """Of each cell of code: the text it printed, and how many pictures it shows."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    text = ["".join(each.text for each in cell if each.output_type == "stream") for cell in outputs]
    return text, [sum("image/png" in each.get("data", {}) for each in cell) for cell in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["layer", "convert"])
def test_notebooks_of_the_site(name, tmp_path):
    notebook = nbformat.read(EXAMPLES.parent / f"docs/{name}.ipynb", 4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.mark.slow
def test_the_notebook(tmp_path, monkeypatch):
    """On a few images in the layout of CIFAR-10, for one epoch."""
    for part in ("train", "test"):
        for index in range(20):
            save_image(tmp_path / f"data/{part}/{index % 10}/{index}.png", 32, 32, seed=index)
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path / "data"))
    (tmp_path / "recipes").symlink_to(EXAMPLES.parent / "recipes")
    (tmp_path / "examples").mkdir()
    notebook = nbformat.read(EXAMPLES / "analysis.ipynb", 4)
    kept = results(notebook)[1]
    (settings,) = [cell for cell in notebook.cells if "EPOCHS = 3" in cell.source]
    settings.source = settings.source.replace("EPOCHS = 3", "EPOCHS = 1")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "examples")}}).execute()
    text, pictures = results(notebook)
    assert pictures == kept == [0, 0, 0, 0, 1, 1, 1, 1, 0, 1]
    assert "images of its data set" in text[2]
    assert len(re.findall(r"units, .* px from the centre, moved by 0\.\d\d px", text[3])) == 3
    radii = dict(re.findall(r"(units|3 x 3) .* (\S+) px \(radius", text[7]))
    assert float(radii["units"]) > float(radii["3 x 3"]) > 5
    assert len(re.findall(r"by \(17\), \d+\.\d measured", text[8])) == 3
