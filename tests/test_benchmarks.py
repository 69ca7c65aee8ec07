"""Benchmarks that cannot be run here at full size run small."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # as when they run

import table1

from benchmarks import networks, photographs, reach
from torchdau.training.data.pictures import pixels_of, read_picture

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
    assert parts == {"layers", "networks", "kernels", "few_channels", "graphs", "large", "tests", "operator_tests"}
    assert all(f"## {part}" in (tmp_path / "page.md").read_text() for part in parts - {"kernels", "operator_tests"})
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stdout == ""  # everything was there


def test_pieces_of_photographs(tmp_path):
    """Of any size, and pairs of one size without the border that no blur covers; what moves is blurred most."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    side = photographs.SIDE + 2 * photographs.MARGIN
    for number, size in enumerate([(300, 260), (150, 400)]):
        photograph = torch.randint(256, (3, *size), dtype=torch.uint8)
        scene = photographs.piece(photograph, side)
        assert scene.shape == (3, side, side)
        shaken, filmed = photographs.shaken(scene, generator), photographs.filmed(scene, scene.flip(2))
        photographs.save(tmp_path, 2 * number, *shaken)
        photographs.save(tmp_path, 2 * number + 1, *filmed)
        soft = photographs.defocused(scene)
        assert soft.shape == scene.shape
        assert soft.float().std() < 0.95 * scene.float().std()
    for number in range(4):
        name = f"{number:06}.png"
        blurred, sharp = (pixels_of(read_picture(tmp_path / kind / name)) for kind in ("blur", "sharp"))
        assert blurred.shape == sharp.shape
        assert photographs.SIDE <= sharp.shape[1] < side
        assert blurred.float().std() < 0.8 * sharp.float().std()


def test_networks_and_their_layers_are_compared(caplog):
    caplog.set_level(logging.WARNING, "torchdau")
    for table, rows in (
        (networks.show_networks(["test_resnet"], [2], [32], repeats=1, autocast=False), 1),
        (networks.show_layers("test_resnet", 2, 32, repeats=1, autocast=True), 9),
    ):
        assert table.row_count == rows
        ratios = [float(cell) for column in table.columns if column.header.endswith("ratio") for cell in column.cells]
        assert len(ratios) == 2 * rows
        assert min(ratios) > 0


def test_a_student_that_starts_where_the_teacher_stands_has_found_it(monkeypatch):
    monkeypatch.setattr(reach.torchdau.init, "uniform_", lambda displacement, bound: displacement.data.fill_(1.0))
    assert reach.recovered("noise", 1.5, False, reach.in_pixels, seed=0, steps=1) == 1
    monkeypatch.undo()
    assert reach.recovered("photographs", 1.5, True, reach.by_factor, seed=0, steps=1) < 0.5


def test_units_that_read_digits_are_measured(monkeypatch):
    whole = reach.digits
    monkeypatch.setattr(reach, "digits", lambda train: [part[:64] for part in whole(train)])
    accuracy, reached, bound = reach.read_digits(None, reach.in_pixels, torch.optim.AdamW, 0.003, seed=0)
    assert 0 <= accuracy <= 1
    assert 0.5 < reached < 4
    assert bound == 0
    assert reach.read_digits(1, reach.frozen, torch.optim.AdamW, 0.003, seed=0)[1] != reached  # no units: not a number


def test_a_table_is_trained_in_slices(tmp_path):
    """What is stopped goes on; the table is there after each slice, and nothing is trained twice."""
    rows = {"units": table1.Network("digits_dau.yaml", (), 99.0)}
    made = table1.runs(rows, [0], ["--trainer.max_epochs", "1"], tmp_path)
    table1.fit(made["units"][0], minutes=0.001)
    assert not made["units"][0].finished
    tables = []
    table1.train(made, 30, 30, 1, lambda: tables.append(table1.write(rows, made, tmp_path)))
    assert [table.count("unfinished") for table in tables] == [0]
    (accuracy,) = table1.scores(made["units"][0].folder, "val_accuracy")
    assert f"| units | 1 | 1 | {100 * accuracy:.2f} % |  | 99.0 % |" in tables[-1]
    assert tables[-1].count("\n") == 2
    assert (tmp_path / "table.md").read_text().strip() == tables[-1]
    assert (tmp_path / "curves.png").stat().st_size > 1000
    table1.train(made, 1, 1, 1, lambda: tables.append(""))
    assert len(tables) == 1
    with pytest.raises(RuntimeError, match=r"holds a run with other options. Name another --output."):
        table1.fit(made["units"][0]._replace(options=["--trainer.max_epochs", "2"]))
