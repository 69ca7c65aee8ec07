"""Images as they lie around, in every data module: seen as people see them, or refused with their file, or replaced."""

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.data.layouts import make_cityscapes, make_folder, make_gopro, make_pairs, make_voc
from torchdau.training import CityscapesData, GOPROData, ImageFolderData, SegmentationFolderData, VOCData

MODULES = {
    "folder": (make_folder, ImageFolderData, {"size": 32}, "train/cat/0000.png"),
    "pairs": (make_pairs, SegmentationFolderData, {"classes": [*"abcdefghijk"], "crop": 32}, "train/images/1.jpg"),
    "cityscapes": (make_cityscapes, CityscapesData, {"crop": 32}, "leftImg8bit/train/aachen/aachen_000001_*.png"),
    "voc": (make_voc, VOCData, {"crop": 32}, "TrainVal/VOCdevkit/VOC2011/JPEGImages/b.jpg"),
    "gopro": (make_gopro, GOPROData, {"crop": 32}, "train/scene1/blur/000001.png"),
}


def saved(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned(picture):
    exif = picture.getexif()
    exif[0x0112] = 3
    return saved(picture, "JPEG", exif=exif)


def vast(width, height):
    """The head of a PNG of such a size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


ODD = {
    "16 bits": lambda p: saved(Image.fromarray(np.asarray(p.convert("L")).astype(np.uint16) * 257)),
    "CMYK": lambda p: saved(p.convert("CMYK"), "JPEG"),
    "grey": lambda p: saved(p.convert("L")),
    "alpha": lambda p: saved(p.convert("RGBA")),
    "palette": lambda p: saved(p.quantize(16)),
    "turned": turned,
    "mislabelled": lambda p: saved(p, "WEBP"),
}
BROKEN = {
    "truncated": lambda p: saved(p)[:-300],
    "empty": lambda _: b"",
    "text": lambda _: b"no picture",
    "vast": lambda _: vast(100_000, 100_000),
}


def prepared(module, change, folder, **options):
    """A data module whose layout has one changed file, and that file."""
    make, kind, settings, pattern = MODULES[module]
    make(folder)
    (file,) = folder.glob(pattern)
    file.write_bytes(change(Image.open(file).convert("RGB")))
    return kind(root=str(folder), batch_size=1, num_workers=0, **settings, **options), file


def measured(data):
    data.setup("test")
    return list(data.test_dataloader())


def epoch(data):
    data.setup("fit")
    return [batch[0] for batch in data.train_dataloader()]


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("module", MODULES)
def test_odd_images_are_seen(module, kind, tmp_path):
    data, _ = prepared(module, ODD[kind], tmp_path)
    images = epoch(data)
    assert len(images) > 1
    assert {(image.shape, image.dtype) for image in images} == {((1, 3, 32, 32), torch.uint8)}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("module", MODULES)
def test_broken_images_are_named_or_replaced(module, kind, tmp_path):
    data, file = prepared(module, BROKEN[kind], tmp_path / "strict")
    with pytest.raises(ValueError, match=str(file)):
        epoch(data)
    data, file = prepared(module, BROKEN[kind], tmp_path / "patient", max_unreadable=0.5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        images = epoch(data)
    whole, _ = prepared(module, saved, tmp_path / "whole")
    assert len(images) == len(epoch(whole))
    assert any("1 unreadable training sample" in str(w.message) and str(file) in str(w.message) for w in said)


@pytest.mark.parametrize(
    ("module", "pattern"),
    [
        ("folder", "test/cat/0001.png"),
        ("pairs", "val/images/1.jpg"),
        ("cityscapes", "leftImg8bit/val/frankfurt/frankfurt_000001_*.png"),
        ("voc", "TrainVal/VOCdevkit/VOC2011/JPEGImages/e.jpg"),
        ("gopro", "test/scene1/blur/000001.png"),
    ],
)
@pytest.mark.parametrize("kind", ["empty", "truncated"])
def test_what_is_predicted_without_broken_images(module, pattern, kind, tmp_path):
    """Of the test set, which may have some; to measure it, none may be missing."""
    make, data, settings, _ = MODULES[module]
    make(tmp_path)
    (file,) = tmp_path.glob(pattern)
    file.write_bytes(BROKEN[kind](Image.open(file).convert("RGB")))
    sets = data(root=str(tmp_path), batch_size=1, num_workers=0, **settings)
    sets.setup("predict")
    loader = sets.predict_dataloader()
    (said,) = loader.dataset.unreadable
    assert f"file must be a picture, got {str(file)!r}" in said
    assert len(list(loader)) == len(loader.dataset) > 0
    assert str(file) not in str(loader.dataset.samples)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        measured(data(root=str(tmp_path), batch_size=1, num_workers=0, **settings))
