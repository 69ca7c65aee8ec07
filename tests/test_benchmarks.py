"""Benchmarks that cannot be run here at full size run small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_what_measures_a_gpu_runs_small(tmp_path):
    pytest.importorskip("triton")
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(ROOT / "benchmarks" / "gpu.py"),
        "--smoke",
        "--folder",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert not [row for row in rows if row["name"] == "failed"]
    parts = {row["part"] for row in rows if row["name"] == "finished"}
    assert parts == {"layers", "networks", "graphs", "large", "depthwise", "tests", "operator_tests"}
    assert all(f"## {part}" in (tmp_path / "page.md").read_text() for part in parts - {"operator_tests"})
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stdout == ""  # everything was there
