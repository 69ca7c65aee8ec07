"""Nothing that an archive, a list of a data set or a recipe names is written outside of the folder it belongs to."""

import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.training import processes
from tests.training.data.layouts import make_voc, save_image
from torchdau.training import CIFAR10Data
from torchdau.training.data.files import distinct_names

ROOT = Path(__file__).parents[2]
PATHS = {"open": 0, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0, "os.rename": 1, "os.symlink": 1}
"""Which argument of an audited event is what it changes."""
QUIET = ["--trainer.enable_progress_bar", "false"]


def files_in(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/b/x.png", "a/b/../../y.png"], ["a/b/x", "y"]),
        (["../x.png", "y.png"], None),
        (["a/../../x.png", "a/../x.png", "/x.png"], None),
    ],
)
def test_names_stay_in_a_folder(files, names):
    found = distinct_names(files)
    assert len(set(found)) == len(files)
    assert not any(name.is_absolute() or ".." in name.parts for name in found)
    assert names is None or found == [Path(name) for name in names]


def test_a_list_that_names_files_elsewhere(torchdau, tmp_path, monkeypatch):
    """What is predicted for them is written into the trainer's folder all the same."""
    data = tmp_path / "data"
    voc = make_voc(data) / "TrainVal/VOCdevkit/VOC2011"
    (voc / "ImageSets/Segmentation/val.txt").write_text("e\n../../../../stolen\n")
    save_image(data / "stolen.jpg")
    (data / "stolen.png").write_bytes((voc / "SegmentationClass/e.png").read_bytes())
    monkeypatch.setenv("TORCHDAU_DATA", str(data))
    recipe = ["--config", ROOT / "recipes/voc_dau_alexnet.yaml", "--data.init_args.crop", "33"]
    recipe += ["--data.init_args.num_workers", "0", "--data.init_args.batch_size", "2", *QUIET]
    torchdau("fit", *recipe, "--trainer.max_steps", "1", "--trainer.val_check_interval", "1")
    (last,) = tmp_path.glob("runs/**/last.ckpt")
    before = files_in(tmp_path)
    torchdau("predict", *recipe, "--ckpt_path", last)
    new = files_in(tmp_path) - before
    assert len([path for path in new if path.suffix == ".png"]) == 4
    assert all(path.is_relative_to(last.parents[4]) for path in new), new


def test_an_archive_with_other_content(tmp_path, monkeypatch):
    """An archive of CIFAR-10 that is another is not unpacked."""

    def download(url, filename):
        with tarfile.open(filename, "w:gz") as archive:
            member = tarfile.TarInfo("../outside")
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", download)
    archive = tmp_path / "root/cifar-10-python.tar.gz"
    with pytest.raises(ValueError, match=rf"download must bring the archive of CIFAR-10, got another as '{archive}'"):
        CIFAR10Data(str(tmp_path / "root"), download=True).prepare_data()
    assert files_in(tmp_path) == {archive}


def test_recipes_name_folders_within():
    """Every one of them."""

    def strings(value):
        if isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from strings(each)
        elif isinstance(value, str):
            yield value

    recipes = sorted((ROOT / "recipes").rglob("*.yaml"))
    assert len(recipes) > 40
    for recipe in recipes:
        for value in strings(yaml.safe_load(recipe.read_text())):
            assert not value.startswith(("/", "~")), (recipe.name, value)
            assert ".." not in Path(value).parts, (recipe.name, value)


def audited(folder, words):
    """Runs a command that lists in a file what it opens to write, makes or renames."""
    sys.dont_write_bytecode = True
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder / "temporary")
    listed = os.open(folder / "listed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event, args):
        if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        path = args[PATHS[event]] if event in PATHS else None
        if isinstance(path, str | bytes | os.PathLike):
            os.write(listed, os.path.realpath(os.fsdecode(path)).encode() + b"\n")

    sys.addaudithook(hook)
    processes._run(folder, [str(word) for word in words], {}, "log")


def test_a_recipe_writes_in_its_folder(tmp_path):
    recipe = ["--config", ROOT / "recipes/digits_dau.yaml", *QUIET]
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    checkpoint = ["--ckpt_path", "runs/digits/tensorboard/version_0/checkpoints/last.ckpt"]
    for words in (["fit", *recipe, *short], ["test", *recipe, *checkpoint], ["predict", *recipe, *checkpoint]):
        process = processes.SERVER.Process(target=audited, args=(tmp_path, words))
        process.start()
        process.join()
        assert process.exitcode == 0, (tmp_path / "log").read_text()
    written = {Path(line) for line in (tmp_path / "listed").read_text().splitlines()}
    assert {"last.ckpt", "metrics.csv", "config.yaml", "predictions.csv"} <= {path.name for path in written}
    outside = {path for path in written if not path.is_relative_to(tmp_path.resolve())}
    assert outside <= {Path("/dev/null")}, outside
