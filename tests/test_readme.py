"""What the README and the docs say: commands that exist, files that exist, Python that runs."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from torchdau_cli import options, training
from torchdau_cli.main import COMMANDS, LIGHTNING, main

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
    (tmp_path / "FOLDER").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "FOLDER/dark.png")
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


@pytest.mark.parametrize("page", ["from_conv2d", "choosing"])
def test_python_of_pages(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL):
        exec(code, {})


def commands():
    """Every command line of torchdau in the docs, as a person would paste it."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(r"^(?: {4}|\w+=\S+ |)(?:\w+=\S+ )?(torchdau [a-z].*)$", text, re.MULTILINE):
            yield path.name, line


@pytest.mark.parametrize(("page", "line"), [*commands()], ids=str)
def test_commands_of_the_docs_are_understood(page, line, monkeypatch):
    """They are parsed, with all classes and arguments that they name, and not run."""
    line = line.replace("--config ...", "--config recipes/digits_dau.yaml").replace("...", "")
    _, command, *words = shlex.split(line, comments=True)
    assert command in COMMANDS
    if command in LIGHTNING:
        if "--config" not in words[:-1]:  # the recipe of a checkpoint that has what is changed
            recipe = "camvid_dau_resnet18" if "--model.init_args.tile" in words else "digits_dau"
            if command == "predict":  # pictures come after the checkpoint
                words = training._predict_options(["--ckpt_path", *words])[1:]
            words = ["--config", f"recipes/{recipe}.yaml", *(word for word in words if word != "CHECKPOINT")]
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("TORCHDAU_DATA", "anywhere")
        monkeypatch.setattr(sys, "argv", ["torchdau", command, *words, "--print_config"])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code in (0, None), end.value.code
        return
    monkeypatch.setattr(sys, "argv", ["torchdau", command, *words])
    parsed = []
    monkeypatch.setattr(options.Parser, "instantiate", lambda self, config: parsed.append(config) or {})
    monkeypatch.setattr(options, "call", lambda function, arguments: None)
    main()
    assert len(parsed) == 1
