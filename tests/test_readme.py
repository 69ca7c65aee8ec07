"""What the README and the docs say: commands that exist, files that exist, Python that runs."""

import argparse
import re
import runpy
import shlex
import subprocess
import sys
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from PIL import Image

from torchdau_cli import options
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


@pytest.mark.parametrize("page", ["docs/from_conv2d.md", "docs/choosing.md", "docs/training.md", "weights/README.md"])
def test_python_of_pages(page, monkeypatch, tmp_path):
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    monkeypatch.chdir(tmp_path)
    found = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found
    for code in found:
        exec(code, {})


def test_all_python_is_run():
    pages = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/*.md") if "```python" in path.read_text()}
    assert pages == {"docs/from_conv2d.md", "docs/choosing.md", "docs/training.md", "weights/README.md"}


def lines_of_the_docs(pattern):
    """Every line of a page that fits, with its page; a backslash goes on in the next line."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(pattern, text, re.MULTILINE):
            yield path.name, line


def benchmarks():
    """Every command line of a benchmark in the docs, as a person would paste it."""
    return lines_of_the_docs(r"^ {4}.*?python (benchmarks/\w+\.py.*)$")


@pytest.mark.parametrize(("page", "line"), [*benchmarks()], ids=str)
def test_benchmarks_of_the_docs_are_understood(page, line, monkeypatch):
    """Their options are parsed, and they are not run."""
    expanded = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
    if " " not in line:
        assert (ROOT / line).is_file()  # it may take no options
        return
    script, *words = [word for word in expanded.stdout.splitlines() if word != "..."]
    parse = argparse.ArgumentParser.parse_known_args

    def parsed(parser, *args, all_known=False):
        others = parse(parser, *args)[1]
        assert not (others and all_known), others
        raise KeyboardInterrupt

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parsed)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", partialmethod(parsed, all_known=True))
    monkeypatch.setattr(sys, "argv", [script, *words])
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    with pytest.raises(KeyboardInterrupt):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def commands():
    """Every command line of torchdau in the docs and in ``torchdau --help``, as a person would paste it."""
    yield from lines_of_the_docs(r"^(?: {4}|\w+=\S+ |)(?:\w+=\S+ |uv run )*(torchdau [a-z].*)$")
    for purpose in COMMANDS.values():
        for line in re.findall(r": (torchdau .*)", purpose):
            yield "--help", re.sub(r"[\[\]]", "", line)


@pytest.mark.parametrize(("page", "line"), [*commands()], ids=str)
def test_commands_of_the_docs_are_understood(page, line, monkeypatch, tmp_path):
    """They are parsed, with all classes and arguments that they name, and not run."""
    line = line.replace("--config ...", "--config recipes/digits_dau.yaml").replace("...", "")
    _, command, *words = shlex.split(line, comments=True)
    assert command in COMMANDS
    if command in LIGHTNING:
        if "--config" not in words[:-1]:  # the recipe of a checkpoint that has what is changed
            recipe = "camvid_dau_resnet18" if {"--tile", "--model.init_args.tile"} & {*words} else "digits_dau"
            if command == "predict" and len(words) > 1 and not words[1].startswith("-"):
                words.insert(1, "--data.init_args.pictures")
            words = ["--config", f"recipes/{recipe}.yaml", *(word for word in words if word != "CHECKPOINT")]
        monkeypatch.chdir(tmp_path)
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
