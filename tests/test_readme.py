"""What the README and the docs say: commands that exist, files that exist, Python that runs."""

import re
import sys
from pathlib import Path

import torch

from torchdau_cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python(monkeypatch, tmp_path):
    """Block after block, since later ones go on with what earlier ones made."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks("python"):
        exec(code, names)
        if "optimizer" in code:
            names["model"](torch.randn(2, 3, 32, 32)).sum().backward()
            names["optimizer"].step()
    assert names["output"].shape == (8, 128, 56, 56)
    assert (tmp_path / "model.safetensors").exists()


def test_digits_commands(monkeypatch, tmp_path):
    """The block that trains, tests, predicts and resumes, as it stands, with a step per epoch."""
    (block,) = [b for b in blocks("bash") if "torchdau predict" in b]
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    checkpoint = None
    for line in block.splitlines():
        words = line.split("#")[0].split()
        if "CHECKPOINT" in words:
            (checkpoint, *_) = sorted(tmp_path.glob("runs/digits/**/last.ckpt"))
            words = [str(checkpoint) if word in ("CHECKPOINT", "OTHER") else word for word in words]
        if words[1] == "fit":
            words += ["--trainer.limit_train_batches", "1", "--trainer.max_epochs", "2" if checkpoint else "1"]
        if words[1] in ("fit", "test", "predict"):
            words += ["--trainer.enable_progress_bar", "false"]
        monkeypatch.setattr(sys, "argv", words)
        main()


def test_linked_files_exist():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        prose = re.sub(r"^    .*$", "", path.read_text(), flags=re.MULTILINE)  # formulas have brackets too
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path} links to {target}"
    for command in re.findall(r"recipes/\S+\.yaml|benchmarks/\S+\.py", README):
        assert (ROOT / command).exists(), command
    named = re.findall(r"`(\w+\.yaml)", (ROOT / "docs/training.md").read_text())
    assert len(named) > 20
    assert [name for name in named if not (ROOT / "recipes" / name).exists()] == []
    assert len(README.splitlines()) < 150


def test_ci_runs_the_readmes_test_command():
    (command,) = re.findall(r"pip install uv && (uv run pytest.*)", README)
    assert command in (ROOT / ".ci/run").read_text().splitlines()
