"""Pictures as they come from cameras and the web, and labels for a folder of them."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from tests.training.data.layouts import make_folder
from tests.training.test_recipes import ONE_STEP
from torchdau.training.data.pictures import Pictures, picture_shape, read_picture

ROOT = Path(__file__).parents[3]

RED, GREY = (250, 10, 20), (128, 128, 128)


def image(mode, colour):
    return Image.new(mode, (6, 4), colour)


@pytest.mark.parametrize(
    ("name", "picture", "expected"),
    [
        ("rgb.png", image("RGB", RED), RED),
        ("palette.gif", image("RGB", RED).quantize(4), RED),
        ("grey.png", image("L", 128), GREY),
        ("cmyk.jpg", image("CMYK", (0, 0, 0, 127)), GREY),
        ("deep.png", Image.fromarray(np.full((4, 6), 128 * 256, np.uint16)), GREY),
        ("clear.png", image("RGBA", (*RED, 0)), (255, 255, 255)),
        ("half.webp", image("RGBA", (0, 0, 0, 127)), GREY),
        ("grey_alpha.png", image("LA", (0, 127)), GREY),
    ],
)
def test_formats(name, picture, expected, tmp_path):
    picture.save(tmp_path / name)
    read = read_picture(tmp_path / name)
    assert (read.mode, read.size) == ("RGB", (6, 4))
    assert np.abs(np.asarray(read).astype(int) - expected).max() <= 2


def test_pictures_are_turned_as_they_say(tmp_path):
    picture = image("RGB", RED)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg").size == (4, 6)


def test_broken_pictures_are_named(tmp_path):
    image("RGB", RED).resize((64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:90])
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("half.png", "text.jpg", "missing.png"):
        with pytest.raises(ValueError, match=f"file must be a picture, got '.*{name}': "):
            read_picture(tmp_path / name)


def test_more_than_sixteen_bits(tmp_path):
    Image.fromarray(np.full((4, 6), 0.5, np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 6), 70_000, np.int32)).save(tmp_path / "long.tif")
    for name, what in (("float", "floating point"), ("long", "32 bits")):
        with pytest.raises(ValueError, match=rf"file must be .* 8 or 16 bits, got '.*{name}.tif' in {what}"):
            read_picture(tmp_path / f"{name}.tif")
    Image.fromarray(np.full((4, 6), 128 * 256, np.int32)).save(tmp_path / "sixteen.tif")
    assert abs(read_picture(tmp_path / "sixteen.tif").getpixel((0, 0))[0] - 128) <= 1


def test_pages(tmp_path):
    """Of a scan; small copies beside a picture are none."""
    page = image("RGB", RED)
    page.save(tmp_path / "scan.tif", save_all=True, append_images=[page, page])
    page.save(tmp_path / "copy.tif", save_all=True, append_images=[page.resize((3, 2))])
    for read in (read_picture, picture_shape):
        with pytest.raises(ValueError, match=r"file must be a single picture, got '.*scan.tif' with 3 frames"):
            read(tmp_path / "scan.tif")
        read(tmp_path / "copy.tif")


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_damaged_pictures_of_other_libraries(tmp_path):
    """They raise errors of their own kinds."""
    Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / "whole.avif")
    whole = (tmp_path / "whole.avif").read_bytes()
    kinds = set()
    for at in range(0, 300, 7):  # of its head
        (tmp_path / "damaged.avif").write_bytes(whole[:at] + bytes([255] * 7) + whole[at + 7 :])
        try:
            read_picture(tmp_path / "damaged.avif")
        except ValueError as error:
            kinds.add(type(error.__cause__))
    assert RuntimeError in kinds


def test_folders_without_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pictures must name a folder .*nowhere', which is not there"):
        Pictures(tmp_path / "nowhere", torch.tensor)
    with pytest.raises(FileNotFoundError, match=r"pictures must name a folder with .* Pillow .*, which has none"):
        Pictures(tmp_path, torch.tensor)


def test_predict_pictures_of_any_size(torchdau, monkeypatch, tmp_path, capsys):
    """On a machine that has nothing but the checkpoint."""
    names = [f"class{number}" for number in range(10)]
    monkeypatch.setenv("TORCHDAU_DATA", str(make_folder(tmp_path / "data", classes=names, count=1)))
    options = [option for option in ONE_STEP if option not in ("--trainer.fast_dev_run", "1")]
    short = ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    torchdau("fit", "--config", ROOT / "recipes/cifar10_conv.yaml", *options, *short)
    (checkpoint,) = tmp_path.glob("runs/cifar10/**/last.ckpt")
    monkeypatch.delenv("TORCHDAU_DATA")
    (tmp_path / "photos/inside").mkdir(parents=True)
    image("RGB", RED).resize((300, 200)).save(tmp_path / "photos/a.JPG")
    image("RGBA", (0, 0, 0, 0)).resize((20, 90)).save(tmp_path / "photos/inside/b.png")
    (tmp_path / "photos/notes.txt").write_text("no picture")
    capsys.readouterr()
    torchdau("predict", "--ckpt_path", checkpoint, "--data.init_args.pictures", tmp_path / "photos")
    shown = capsys.readouterr().out
    assert "a.JPG" in shown
    with open(tmp_path / "runs/cifar10/predictions.csv") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["image"]).name for row in rows] == ["a.JPG"] * 3 + ["b.png"] * 3
    assert [row["rank"] for row in rows] == ["1", "2", "3"] * 2
    assert {row["class"] for row in rows} <= set(names)
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"]) >= float(rows[2]["probability"]) > 0
