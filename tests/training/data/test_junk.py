"""Files that are no data, as systems and editors leave them beside pictures."""

import logging

import pytest

from tests.training.data.layouts import make_folder, make_gopro, make_pairs, save_image
from torchdau.training import GOPROData, ImageFolderData, SegmentationFolderData
from torchdau.training.data.files import is_data, pictures_in


def litter(folder):
    """Put into every folder what macOS, Windows, Synology and Jupyter do."""
    for each in [folder, *(path for path in sorted(folder.rglob("*")) if path.is_dir())]:
        for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (each / name).write_bytes(b"\0\5\x16\7")
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
            (each / name).mkdir()
            (each / name / "0.png").write_bytes(b"no picture")
            (each / name / "1-checkpoint.png").write_bytes(b"no picture")


def test_classes_are_not_hidden(tmp_path, caplog):
    make_folder(tmp_path, ("train", "test"), classes=["cat", "dog"], count=2)
    litter(tmp_path)
    (tmp_path / "train/cat/notes.txt").write_text("mine")
    data = ImageFolderData(str(tmp_path), num_workers=0, size=8)
    with caplog.at_level(logging.WARNING, "torchdau"):
        data.setup("fit")
    assert data.classes == ["cat", "dog"]
    assert len(data.train) == len(data.test) == 4
    (record,) = caplog.records
    said = f"left out in {tmp_path / 'train'}: 1 that are no pictures, such as {tmp_path / 'train/cat/notes.txt'}"
    assert record.getMessage() == said


def test_pairs_are_not_hidden(tmp_path):
    make_pairs(tmp_path, count=2, classes=2)
    litter(tmp_path)
    data = SegmentationFolderData(["a", "b"], str(tmp_path), num_workers=0)
    data.setup("fit")
    assert len(data.train) == len(data.val) == 2


def test_sequences_are_not_hidden(tmp_path):
    make_gopro(tmp_path, count=2)
    before = GOPROData(str(tmp_path), num_workers=0, crop=24).pairs(train=True)
    litter(tmp_path)
    assert GOPROData(str(tmp_path), num_workers=0, crop=24).pairs(train=True) == before


def test_pictures_are_not_hidden(tmp_path, caplog):
    save_image(tmp_path / "a.png", 9, 9)
    save_image(tmp_path / "in/b.jpg", 9, 9)
    litter(tmp_path)
    with caplog.at_level(logging.WARNING, "torchdau"):
        assert pictures_in(tmp_path) == [tmp_path / "a.png", tmp_path / "in/b.jpg"]
        assert not caplog.records
        (tmp_path / "readme.txt").touch()
        pictures_in(tmp_path)
    assert f"left out in {tmp_path}: 1 " in caplog.records[0].getMessage()


@pytest.mark.parametrize("name", ["a.png", "b/c.png", "a.b/c.png"])
def test_what_is_data(name, tmp_path):
    hidden = tmp_path / ".cache"  # the folder itself may be hidden
    assert is_data(hidden / name, hidden)
    assert is_data(str(hidden / name), str(hidden))
    assert not is_data(hidden / ".x" / name, hidden)
