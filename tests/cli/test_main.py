"""The front door: answers without torch, mistakes in a line with exit code 1, names close to a misspelled one."""

import re
import subprocess
import sys
import time
from inspect import signature

import pytest

from torchdau.analysis.counts import counts
from torchdau_cli import training
from torchdau_cli.plot import plot
from torchdau_cli.report import report

MODULES = "torch, torchdau, lightning, torchvision, rich, numpy"
LIGHTNING = ("fit", "validate", "test", "predict")
NO_CHECKPOINT = "checkpoint must be a file that torchdau fit wrote, got "
NO_RECIPE = "a recipe must be a YAML file, got "
OWN = ("blur", "deblur", "demo", "env", "parameters", "plot", "prune-curve", "report")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["help"],
        ["help", "fit"],
        ["test", "nowhere.ckpt"],
        ["test", __file__],
        ["report", __file__],
        ["--version"],
        ["fitt"],
        *([name, "--help"] for name in (*OWN, *LIGHTNING)),
        ["plot", "x", "--outptu", "y"],
        ["fit"],
    ],
    ids=" ".join,
)
def test_torch_is_not_imported(words):
    """Half a second, of which starting Python is a part; torch alone takes two."""
    code = (
        "import sys\n"
        f"sys.argv[1:] = {words}\n"
        "from torchdau_cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code in (0, None) or isinstance(end.code, str) or end.code == 1\n"
        f"sys.exit(sum(name in sys.modules for name in {MODULES.split(', ')}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("command", [name for name in OWN if name != "env"])
def test_help_is_for_people(command, torchdau, capsys, monkeypatch):
    """No types of Python, and a default for every option that may be left out."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        torchdau(command, "--help")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    usage, *options = "\n".join(lines).split("\n  -")
    assert not {"type", "<class", "False"} & {*re.findall(r"[<\w]+", " ".join(lines))}
    for option in options[1:]:
        name = option.split()[0].removeprefix("-")
        optional = f"[--{name} " in usage and "second checkpoint" not in option
        assert ("Default:" in option) == optional, option


def test_help_takes_a_fraction_of_importing_torch():
    def seconds(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        return time.perf_counter() - start

    code = "import sys; sys.argv = ['torchdau', '--help']; from torchdau_cli.main import main; main()"
    assert min(seconds(code) for _ in range(3)) < 0.3 * min(seconds("import torch") for _ in range(3))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fitt", "torchdau: unknown command 'fitt'. Did you mean 'fit'?"),
        ("--versio", "torchdau: unknown command '--versio'. Did you mean '--version'?"),
        ("xyz", "torchdau: unknown command 'xyz'. The commands are demo, fit, validate, test, predict, report"),
        ("fit", "torchdau fit: a recipe is needed: torchdau fit --config recipes/digits_dau.yaml"),
        ("fit my.yaml --x 1", "torchdau fit: a recipe is given as an option: torchdau fit --config my.yaml --x 1"),
        ("fit --confg x.yaml", "torchdau fit: options must be known, got '--confg'. Did you mean '--config'?"),
        (
            "predict .",
            "torchdau predict: the first argument must be a checkpoint, got the folder '.'. Or: torchdau predict CHE",
        ),
        (
            "test x.ckpt --verbos true",
            "torchdau test: options must be known, got '--verbos'. Did you mean '--verbose'?",
        ),
        ("test no.ckpt", f"torchdau test: {NO_CHECKPOINT}'no.ckpt', which is no file."),
        ("report no.ckpt", f"torchdau report: {NO_CHECKPOINT}'no.ckpt', which is no file."),
        (f"test {__file__}", f"torchdau test: {NO_CHECKPOINT}{__file__!r}: it has no digest at its end"),
        (f"plot {__file__} sigmas", f"torchdau plot: {NO_CHECKPOINT}{__file__!r}: it has no digest at its end"),
        ("fit digits", "torchdau fit: 'digits' is no checkpoint, and a recipe is given as an option: torchdau fit --"),
        ("fit --config", f"torchdau fit: {NO_RECIPE}'', which is no file."),
        ("fit --config other/digits_dau.yaml", f"torchdau fit: {NO_RECIPE}'other/digits_dau.yaml', which is no file."),
        ("fit --config x.ckpt", "torchdau fit: a checkpoint is given without --config: torchdau fit x.ckpt"),
        ("fit --config no.yaml", f"torchdau fit: {NO_RECIPE}'no.yaml', which is no file. Those of torchdau are in"),
        (
            "fit -c recipes/digit_dau.yaml",
            f"torchdau fit: {NO_RECIPE}'recipes/digit_dau.yaml', which is no file. Did you mean 'recipes/digits_dau.y",
        ),
        (
            "fit --config x --optimizer Adam",
            "torchdau fit: options must be known, got '--optimizer'. You may mean --mo",
        ),
        ("fit --config x --lr_scheduler.gamma 1", "torchdau fit: options must be known, got '--lr_scheduler.gamma'."),
        ("fit --config x --model.init_args.learning_rate 1", "torchdau fit: options must be known, got '--model.init_"),
        ("--trust", "torchdau: argument --trust: expected one argument: the name of a module"),
        ("plot no.ckpt distances --size", "torchdau plot: argument --size: expected one argument"),
        (
            "fit --config x --epochs 3",
            "torchdau fit: options must be known, got '--epochs'. You may mean --trainer",
        ),
        ("parameters --format jsn", "torchdau parameters: format must be one of 'text', 'json', got 'jsn'; did you me"),
        ("test .", "torchdau test: the first argument must be a checkpoint, got the folder '.'."),
        ("test", "torchdau test: a checkpoint is needed, as the first argument: torchdau test CHECKPOINT"),
        (
            "validate --config x.yaml",
            "torchdau validate: a checkpoint is needed, as the first argument: torchdau validate CHECKPOINT",
        ),
        ("predict", "torchdau predict: a checkpoint is needed, as the first argument: torchdau predict CHECKPOINT"),
        ("report x.ckpt --outpu y", "torchdau report: unknown option --outpu; did you mean --output?"),
        ("parameters --forma json", "torchdau parameters: unknown option --forma; did you mean --format?"),
        (
            "deblur x --output y --checkpoint z",
            "torchdau deblur: unknown option --checkpoint; the checkpoint is the first",
        ),
        (
            "deblur x.ckpt",
            "torchdau deblur: missing: output; write torchdau deblur PATHS --output OUTPUT",
        ),
        ("plot sigmas x.ckpt", "torchdau plot: the checkpoint is the first argument: torchdau plot CHECKPOINT sigmas"),
        ("plot x.ckpt sigma", "torchdau plot: "),
        ("report x.ckpt", "torchdau report: checkpoint must be a file that torchdau fit wrote, got 'x.ckpt'"),
    ],
)
def test_mistakes_are_answered_in_a_line(words, said, torchdau, capsys):
    with pytest.raises(SystemExit) as end:
        torchdau(*words.split())
    shown = capsys.readouterr().err + (f"{end.value.code}\n" if isinstance(end.value.code, str) else "")
    assert isinstance(end.value.code, str) or end.value.code == 1
    assert shown.startswith(said)
    assert shown.count("\n") == 1


def test_debug_shows_where(torchdau, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"x\.ckpt"):
        torchdau("report", "x.ckpt", "--debug")
    monkeypatch.setenv("TORCHDAU_DEBUG", "1")
    with pytest.raises(FileNotFoundError, match=r"x\.ckpt"):
        torchdau("report", "x.ckpt")


def test_stopped_by_the_keyboard(torchdau, monkeypatch, tmp_path, capsys):
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(64 * b"0")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("torchdau.training.restoring.restore_network", stop)
    with pytest.raises(SystemExit) as end:
        torchdau("plot", checkpoint, "sigmas")
    assert end.value.code == 130
    assert capsys.readouterr().err == "torchdau plot: stopped\n"


def test_version_and_env(torchdau, capsys):
    torchdau("--version")
    assert capsys.readouterr().out == f"torchdau {__import__('torchdau').__version__}\n"
    torchdau("env")
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.strip())
    assert {"torchdau", "torch", "python", "processor", "threads"} <= lines.keys()


def test_python_m(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "torchdau", "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "usage: torchdau COMMAND" in done.stdout


def test_an_error_of_a_loader_is_one_line(torchdau, monkeypatch):
    said = (
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        "  File x, line 1\nValueError: file must be a picture, got 'a.png': broken.\n"
    )

    def fail(*_):
        raise ValueError(said)

    monkeypatch.setattr("torchdau.training.cli.main", fail)
    with pytest.raises(SystemExit, match=r"^torchdau fit: file must be a picture, got 'a.png': broken\.$"):
        torchdau("fit", "--config", __file__)


def test_pictures_and_folder_of_predictions(tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(64 * b"0")
    start, folder = ["--ckpt_path", str(checkpoint)], "--trainer.default_root_dir"
    given = training.arguments("predict", [str(checkpoint), "photos", "--output", "out"])
    assert given == [*start, "--data.init_args.pictures", "photos", folder, "out"]
    assert training.arguments("predict", [str(checkpoint), "--output=out"]) == [*start, f"{folder}=out"]


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_options_of_the_other_commands(command, tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(64 * b"0")
    words = ["--device", "cuda:1", "--tile=64", "--output", "out"]
    full = ["--trainer.accelerator", "cuda", "--trainer.devices=[1]", "--model.init_args.tile=64"]
    given = training.arguments(command, [str(checkpoint), *words])
    assert given == ["--ckpt_path", str(checkpoint), *full, "--trainer.default_root_dir", "out"]
    given = training.arguments(command, [str(checkpoint), "--device=cpu"])
    assert given == ["--ckpt_path", str(checkpoint), "--trainer.accelerator=cpu"]


def test_recipes_of_the_package_from_any_folder(torchdau, tmp_path):
    own = str(training.RECIPES / "digits_dau.yaml")
    (tmp_path / "more.yaml").touch()
    words = ["--config", "recipes/digits_dau.yaml", "--config=more.yaml"]
    assert training.arguments("fit", words) == ["--config", own, "--config=more.yaml"]
    assert training.arguments("fit", [*words, "--print_config"]) == [
        "--config",
        own,
        "--config=more.yaml",
        "--print_config",
    ]


def test_no_row_is_wrapped(torchdau, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    torchdau("parameters")
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + len(counts())
    assert all(row.rstrip()[0] != " " for row in rows)


def test_one_receptive_field_for_plot_and_report():
    defaults = {signature(function).parameters["max_channels"].default for function in (plot, report)}
    assert len(defaults) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plot {} distances --compare other.ckpt", "compare, max_channels and size are options of receptive-fields"),
        ("plot {} sigmas --size 32", "compare, max_channels and size are options of receptive-fields"),
        ("plot {} displacements --shares []", "shares must have at least one share, got none"),
        ("report {} --output .", "output must be a file, got the folder '.'"),
        ("report {} --prune_curve no.csv", "prune_curve must be a table of torchdau prune-curve, got 'no.csv'"),
        ("prune-curve {} --output .", "output must not hold a table yet, got 'prune_curve.csv'. Give --overwrite true"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_the_work(words, said, torchdau, monkeypatch, tmp_path, capsys):
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(64 * b"0")
    (tmp_path / "prune_curve.csv").touch()
    with pytest.raises(SystemExit) as end:
        torchdau(*words.format(checkpoint).split())
    assert said in str(end.value.code)


@pytest.mark.parametrize("words", [["--config"], ["-c"]])
def test_recipes_of_the_package_are_found_from_any_folder(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = training.arguments("fit", [*words, "recipes/digits_dau.yaml", "--trainer.max_epochs", "1"])
    assert found[1] == str(training.RECIPES / "digits_dau.yaml")
    assert training.arguments("fit", ["--config=recipes/digits_dau.yaml"]) == [f"--config={found[1]}"]
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/digits_dau.yaml").touch()  # the user's own comes first
    assert training.arguments("fit", [*words, "recipes/digits_dau.yaml"])[1] == "recipes/digits_dau.yaml"


@pytest.mark.parametrize("words", ["plot last.ckpt distances --output", "report last.ckpt --output"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(words, torchdau, monkeypatch, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(64 * b"0")
    monkeypatch.setattr("torchdau_cli.files.os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(SystemExit) as end:
        torchdau(*words.split(), "there/result.png")
    assert "output must be where files can be written, got 'there/result.png'" in end.value.code
