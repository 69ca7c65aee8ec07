"""Results are written whole or not at all, also where a disk is full."""

import multiprocessing
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only

from torchdau.training import Classification, CSVLogger
from torchdau.whole import whole_file

ROOT = Path(__file__).parents[1]


@contextmanager
def room(size):
    """No file can grow beyond a size in bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_file_before_is_kept(tmp_path):
    path = tmp_path / "inside/a.txt"
    with whole_file(path) as part:
        assert part.suffix == ".txt"  # libraries choose a format by it
        part.write_text("first")
        assert not path.exists()
    with pytest.raises(OSError, match="File too large"), room(100), whole_file(path) as part:
        part.write_text("x" * 101)
    assert files(tmp_path) == {path: b"first"}


def test_two_writers_of_a_file(tmp_path):
    """As two processes with the same folder of results: the last one wins, and both have written."""
    with whole_file(tmp_path / "a") as part:
        part.write_text("first")
        process = multiprocessing.get_context("spawn").Process(target=write, args=(tmp_path / "a",))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert (tmp_path / "a").read_text() == "second"
    assert files(tmp_path) == {tmp_path / "a": b"first"}


def write(path):
    with whole_file(path) as part:
        part.write_text("second")


def test_a_table_of_metrics_is_not_lost_on_resuming(tmp_path):
    """Lightning deletes it first."""
    table = tmp_path / "csv/version_0/metrics.csv"
    table.parent.mkdir(parents=True)
    table.write_text("step,loss\n" + "1,2\n" * 1000)
    with pytest.raises(OSError, match="File too large"), room(1000):
        CSVLogger(str(tmp_path), "csv", version=0).experiment  # noqa: B018
    assert table.read_text().count("1,2") == 1000


def test_only_the_first_process_writes_the_table(tmp_path, monkeypatch):
    table = tmp_path / "csv/version_0/metrics.csv"
    table.parent.mkdir(parents=True)
    table.write_text("step,loss\n1,2\n")
    written = table.stat().st_ino
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    CSVLogger(str(tmp_path), "csv", version=0).experiment.log_metrics({"loss": 1})
    assert table.stat().st_ino == written


def test_a_picture_without_an_ending(torchdau, digits, tmp_path, capsys):
    (tmp_path / "last.ckpt").write_bytes(digits)
    torchdau("plot", "last.ckpt", "displacements", "--output", "figure")
    assert "written: figure.png" in capsys.readouterr().out
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SystemExit, match=r"output must be a file, got the folder 'folder\.png'"):
        torchdau("plot", "last.ckpt", "displacements", "--output", "folder.png", "--overwrite", "true")
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "figure.png", "folder.png"}


def test_predictions_that_cannot_be_replaced(torchdau, digits, tmp_path, monkeypatch):
    """The error comes before the work."""
    monkeypatch.setattr(Classification, "predict_step", lambda *args: pytest.fail("it worked in vain"))
    (tmp_path / "last.ckpt").write_bytes(digits)
    (tmp_path / "runs/digits/predictions.csv").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"Is a directory: '.*predictions\.csv'"):
        torchdau("predict", "last.ckpt")


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["predict", "runs/last.ckpt"], "runs/digits/predictions.csv"),
        (["plot", "runs/last.ckpt", "displacements"], "displacements.png"),
        (["prune-curve", "runs/last.ckpt", "--output", "out", "--repeats", "0"], "out/prune_curve.png"),
        (["report", "runs/last.ckpt", "--output", "page.html"], "page.html"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_no_command_leaves_half_a_file(words, result, torchdau, digits, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/last.ckpt").write_bytes(digits)
    with pytest.raises(SystemExit, match="File too large"), room(15_000):
        torchdau(*words)
    assert not (tmp_path / result).exists()
    assert not [path for path in files(tmp_path) if path.name.startswith(".")]
    torchdau(*words)
    assert (tmp_path / result).stat().st_size > 15_000


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A checkpoint of a step on digits."""
    from tests.training import processes

    folder = tmp_path_factory.mktemp("digits")
    short = ["--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false"]
    assert processes.run(folder, ["fit", "--config", ROOT / "recipes/digits_dau.yaml", *short]) == 0
    return processes.last_checkpoint(folder).read_bytes()


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path):
    with pytest.raises(OSError, match="No such file") as raised, whole_file(tmp_path / "result.png") as part:
        part.open()  # to read, which is not there
    assert raised.value.filename == str(tmp_path / "result.png")
