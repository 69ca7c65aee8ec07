"""Files that are no data, as systems and editors leave them beside pictures."""

import logging
import os

import pytest

from tests.training.data.layouts import make_cityscapes, make_folder, make_gopro, make_pairs, make_voc, save_image
from torchdau.training import CityscapesData, GOPROData, ImageFolderData, SegmentationFolderData, VOCData
from torchdau.training.data.files import is_data, pictures_in


def litter(folder):
    """Put into every folder what macOS, Windows, Synology and Jupyter do."""
    for each in [folder, *(path for path in sorted(folder.rglob("*")) if path.is_dir())]:
        for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (each / name).write_bytes(b"\0\5\x16\7")
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "#recycle", "@Recycle", "lost+found"):
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


@pytest.mark.parametrize(
    ("make", "kind", "options", "place"),
    [
        (make_pairs, SegmentationFolderData, {"classes": [*"abcdefghijk"]}, "train/images"),
        (make_gopro, GOPROData, {"crop": 24}, "train/scene0/blur"),
        (make_cityscapes, CityscapesData, {}, "leftImg8bit/train/aachen"),
        (make_voc, VOCData, {}, None),
    ],
)
def test_pairs_are_not_hidden(make, kind, options, place, tmp_path, caplog):
    make(tmp_path)
    before = [kind(root=str(tmp_path), num_workers=0, **options).pairs(train) for train in (True, False)]
    litter(tmp_path)
    if place:
        (tmp_path / place / "notes.txt").write_text("mine")
    with caplog.at_level(logging.WARNING, "torchdau"):
        after = [kind(root=str(tmp_path), num_workers=0, **options).pairs(train) for train in (True, False)]
    assert after == before
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        f"1 that are no pictures, such as {tmp_path / place / 'notes.txt'}" for _ in range(place is not None)
    ]


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_pipes_and_broken_links(tmp_path):
    """Reading a pipe would wait for ever; a broken link is named when it is read."""
    save_image(tmp_path / "a.png", 9, 9)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    assert pictures_in(tmp_path) == [tmp_path / "a.png", tmp_path / "link.png"]


@pytest.mark.parametrize("name", ["a.png", "b/c.png", "a.b/c.png"])
def test_what_is_data(name, tmp_path):
    hidden = tmp_path / ".cache"  # the folder itself may be hidden
    assert is_data(hidden / name, hidden)
    assert is_data(str(hidden / name), str(hidden))
    assert not is_data(hidden / ".x" / name, hidden)
