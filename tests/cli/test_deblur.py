"""Sharp pictures from the command line; what it refuses, and that nothing is half-written."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms
from sklearn.datasets import load_sample_image
from torch import nn

from tests.training.data.layouts import make_gopro, save_image
from torchdau.training import restoring
from torchdau.training.data import deep_colours
from torchdau.training.data.pictures import picture_of
from torchdau.training.deblurring import scores
from torchdau.training.shake import blurred_by, shake

ROOT = Path(__file__).parents[2]


def little_checkpoint(torchdau, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHDAU_DATA", str(make_gopro(tmp_path / "data")))
    options = ["--data.init_args.crop", "32", "--data.init_args.batch_size", "2", "--data.init_args.num_workers", "0"]
    options += ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"]
    options += ["--model.init_args.network.init_args.widths", "[2, 3, 4]"]
    options += ["--trainer.enable_progress_bar", "false"]
    torchdau("fit", "--config", ROOT / "recipes/gopro_dau_srn.yaml", *options)
    monkeypatch.delenv("TORCHDAU_DATA")
    (checkpoint,) = tmp_path.glob("runs/gopro/**/last.ckpt")
    return checkpoint


def test_depth_is_kept(torchdau, monkeypatch, tmp_path):
    """A network that computes nothing returns every intensity of 16 bits, and what else a picture has."""
    checkpoint = little_checkpoint(torchdau, monkeypatch, tmp_path)
    monkeypatch.setattr(restoring, "restore_network", lambda path: Same())
    random = np.random.default_rng(0)
    grey, colours = (random.integers(0, 65536, size, dtype=np.uint16) for size in ((33, 40), (20, 16, 4)))
    colours[..., 3] //= 257
    colours[..., 3] *= 257  # opacity keeps 8 bits
    photos = tmp_path / "photos"
    photos.mkdir()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    kinds = cv2.IMAGE_METADATA_ICCP, cv2.IMAGE_METADATA_EXIF
    chunks = [np.frombuffer(content, np.uint8) for content in (profile, turned.tobytes()[6:])]
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(grey).save(photos / name)
    cv2.imwrite(photos / "colours.tif", colours[..., :3])
    cv2.imwrite(photos / "clear.png", colours)
    cv2.imwriteWithMetadata(photos / "turned.png", colours[..., :3], kinds, chunks)
    torchdau("deblur", checkpoint, photos, "--output", tmp_path / "out", "--compare", "true")

    def result(name):
        return cv2.imread(tmp_path / "out" / name, cv2.IMREAD_UNCHANGED)

    for name in ("grey.png", "grey.tif"):
        assert np.array_equal(result(f"{name}.png"), grey)
    assert np.array_equal(result("colours.tif.png"), colours[..., :3])
    assert np.array_equal(result("turned.png.png"), np.rot90(colours[..., :3], -1))
    assert np.array_equal(result("clear.png.png")[..., 3], colours[..., 3])
    opaque = colours[..., 3] == 65535
    assert np.array_equal(result("clear.png.png")[opaque], colours[opaque])
    with Image.open(tmp_path / "out/turned.png.png") as picture:
        assert picture.info["icc_profile"] == profile


def test_without_opencv(torchdau, monkeypatch, tmp_path, capsys):
    checkpoint = little_checkpoint(torchdau, monkeypatch, tmp_path)
    monkeypatch.setattr(restoring, "restore_network", lambda path: Same())
    monkeypatch.setattr(deep_colours, "has_opencv", lambda: False)
    cv2.imwrite(tmp_path / "colours.png", np.full((20, 16, 3), 30000, np.uint16))
    torchdau("deblur", checkpoint, tmp_path / "colours.png", "--output", tmp_path / "out")
    said = capsys.readouterr().out
    assert "of 1 pictures with more than 8 bits per colour, 8 were read; pip install opencv-python-headless" in said
    with Image.open(tmp_path / "out/colours.png") as result:
        assert result.getpixel((0, 0)) == (117, 117, 117)


class Same(nn.Module):
    def forward(self, images):
        return [images]


def test_fit_test_predict_deblur(torchdau, monkeypatch, tmp_path, capsys):
    checkpoint = little_checkpoint(torchdau, monkeypatch, tmp_path)
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path / "data"))
    torchdau("test", "--ckpt_path", checkpoint)
    said = capsys.readouterr().out
    assert all(re.search(rf"^test_{name} +-?\d+\.\d{{4}}$", said, re.M) for name in ("psnr", "ssim", "blurred_psnr"))
    photos = tmp_path / "photos"
    save_image(photos / "a.jpg", 60, 50)
    save_image(photos / "inside/b.bmp", 33, 20)
    torchdau("predict", "--ckpt_path", checkpoint, "--data.init_args.pictures", photos)
    with Image.open(tmp_path / "runs/gopro/deblurred/inside/b.png") as predicted:
        assert predicted.size == (33, 20)
        expected = np.array(predicted)
    picture = Image.new("RGBA", (40, 30), (200, 100, 50, 0))
    picture.putalpha(Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)))
    picture.save(photos / "clear.png")
    with Image.open(photos / "a.jpg") as plain:
        exif = plain.getexif()
        exif[0x0112] = 6
        plain.save(photos / "turned.jpg", exif=exif)
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)).save(photos / "grey.png")
    Image.fromarray(np.arange(0, 60000, 50, dtype=np.uint16).reshape(30, 40)).save(photos / "deep.png")
    cv2.imwrite(photos / "colours.png", np.arange(20 * 16 * 3, dtype=np.uint16).reshape(20, 16, 3) * 60)
    out = tmp_path / "out"
    torchdau("deblur", checkpoint, photos, "--output", out, "--compare", "true")
    said = capsys.readouterr().out
    assert "written: 7 pictures" in said
    assert "8 were read" not in said
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    results = ("a", "inside/b", "clear", "turned", "grey", "deep", "colours")
    both = {f"{name}{kind}.png" for name in results for kind in ("", "_compare")}
    assert names == both
    with Image.open(out / "inside/b.png") as result:
        assert np.array_equal(np.array(result), expected)
    for name, mode in (("grey", "L"), ("deep", "I;16"), ("colours", "RGB")):
        with Image.open(out / f"{name}.png") as result:
            assert result.mode == mode
    with Image.open(out / "clear.png") as result:
        assert result.mode == "RGBA"
        assert np.array_equal(np.array(result)[..., 3].ravel(), np.arange(1200, dtype=np.uint8))
    with Image.open(out / "turned.png") as result, Image.open(out / "turned_compare.png") as compared:
        assert (result.size, compared.size) == ((50, 60), (100, 60))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("meta"))
    with pytest.raises(NotImplementedError, match="meta"):  # the accelerator of the machine computes
        torchdau("deblur", checkpoint, photos, "--output", tmp_path / "meta")


def test_without_a_checkpoint(torchdau, tmp_path, capsys):
    """The network that comes with torchdau, on a part of a photograph that it was not trained on."""
    photograph = torch.tensor(load_sample_image("flower.jpg")).permute(2, 0, 1)[:, 100:206, 200:306]
    blurred, sharp = blurred_by(photograph, shake(11, torch.Generator().manual_seed(0))), photograph[:, 5:-5, 5:-5]
    picture_of(blurred).save(tmp_path / "blurred.png")
    torchdau("deblur", tmp_path / "blurred.png", "--output", tmp_path / "out")
    assert "network: photographs_dau_srn.safetensors" in capsys.readouterr().out
    with Image.open(tmp_path / "out/blurred.png") as picture:
        result = torch.tensor(np.array(picture)).permute(2, 0, 1)
    gain = scores(result.float(), sharp.float())[0] - scores(blurred.float(), sharp.float())[0]
    assert gain > 0.5, gain


def test_what_deblur_refuses(torchdau, monkeypatch, tmp_path, capsys, caplog):
    checkpoint = little_checkpoint(torchdau, monkeypatch, tmp_path)
    save_image(tmp_path / "a.png", 20, 20)
    options = ["--output", tmp_path / "out"]
    torchdau("deblur", checkpoint, tmp_path / "a.png", *options)
    before = (tmp_path / "out/a.png").read_bytes()
    with pytest.raises(SystemExit, match=r"torchdau deblur: output must not hold .*, got 1 .* --overwrite true"):
        torchdau("deblur", checkpoint, tmp_path / "a.png", *options)
    assert (tmp_path / "out/a.png").read_bytes() == before
    torchdau("deblur", checkpoint, tmp_path / "a.png", *options, "--overwrite", "true")
    with pytest.raises(SystemExit, match=r"paths must name .*, got '.*nowhere.png', which is not there"):
        torchdau("deblur", checkpoint, tmp_path / "nowhere.png", *options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="pictures must name a folder with files that Pillow reads"):
        torchdau("deblur", checkpoint, tmp_path / "empty", *options)
    (tmp_path / "broken.png").write_bytes(before[:60])
    save_image(tmp_path / "whole.png", 20, 20)
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(SystemExit, match=r"file must be a single picture, got '.*moving.gif' with 2 frames"):
        torchdau("deblur", checkpoint, tmp_path / "moving.gif", *options)
    (tmp_path / "no.png").write_text("no picture")
    names = [tmp_path / name for name in ("broken.png", "whole.png", "no.png", "whole.png", "Thumbs.db", "@eaDir")]
    save_image(tmp_path / "@eaDir/whole.png", 20, 20)
    (tmp_path / "Thumbs.db").touch()
    with caplog.at_level("WARNING"), pytest.raises(SystemExit, match=r"2 could not be read, 1 others .*'.*no.png'"):
        torchdau("deblur", checkpoint, *names, *options)
    assert "broken.png" in caplog.text  # each is named
    assert (tmp_path / "out/whole.png").exists()  # it went on, past what a shell's * names too
    (tmp_path / "out/whole.png").unlink()
    save_image(tmp_path / "a_compare.png", 20, 20)
    with pytest.raises(SystemExit, match=r"compare would write '.*a_compare.png', the result of another picture"):
        torchdau(
            "deblur", checkpoint, tmp_path / "a.png", tmp_path / "a_compare.png", "--output", "new", "--compare", "true"
        )
    with pytest.raises(SystemExit, match=r"paths must name pictures or folders, got '.*Thumbs.db', which is none"):
        torchdau("deblur", checkpoint, tmp_path / "Thumbs.db", *options)
    with pytest.raises(SystemExit, match=r"paths must name pictures or folders, got only the checkpoint '.*last.ckpt'"):
        torchdau("deblur", checkpoint, "--output", tmp_path / "other")
    (tmp_path / "no.png").rename(tmp_path / "no.ckpt")
    with pytest.raises(SystemExit, match=r"checkpoint must be a file that torchdau fit wrote, got '.*no.ckpt'"):
        torchdau("deblur", tmp_path / "no.ckpt", tmp_path / "a.png", "--output", tmp_path / "other")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SystemExit, match="file"):
        torchdau("deblur", checkpoint, tmp_path / "a.png", "--output", tmp_path / "file")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png"]  # no parts
    capsys.readouterr()


def test_a_failed_write_leaves_what_was_there(torchdau, monkeypatch, tmp_path):
    checkpoint = little_checkpoint(torchdau, monkeypatch, tmp_path)
    save_image(tmp_path / "a.png", 20, 20)
    options = ["--output", tmp_path / "out"]
    torchdau("deblur", checkpoint, tmp_path / "a.png", *options)
    before = (tmp_path / "out/a.png").read_bytes()

    def full(self, file, *args, **kwargs):
        Path(file).write_bytes(before[:30])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(SystemExit, match="No space left on device"):
        torchdau("deblur", checkpoint, tmp_path / "a.png", *options, "--overwrite", "true")
    assert (tmp_path / "out/a.png").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
