"""The examples run as they stand, in a folder of their own, and do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"own_network", "finetune_timm", "export_onnx"}


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


def test_export_onnx(tmp_path):
    output = run("export_onnx", tmp_path)
    assert float(re.search(r"largest difference: (\S+)", output)[1]) < 1e-4
    assert "torch and torchdau imported: neither" in output
