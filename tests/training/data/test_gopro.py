"""Pairs of blurred and sharp images in the layout of GOPRO; what is wrong with them is said by name."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.data.layouts import make_gopro, save_image
from torchdau.training import GOPROData
from torchdau.training.data.pictures import read_picture
from torchdau.training.deblurring import scores

DATA = Path(os.environ.get("TORCHDAU_DATA", "nowhere"))


def test_pairs(tmp_path):
    data = GOPROData(str(make_gopro(tmp_path)), batch_size=2, num_workers=0, crop=24)
    data.setup("fit")
    blurred, sharp = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert blurred.shape == sharp.shape == (2, 3, 24, 24)
    assert 0 <= blurred.min() < 0.1 < 0.9 < blurred.max() <= 1
    blurred, sharp = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert blurred.shape == sharp.shape == (1, 3, 40, 45)
    read = np.array(read_picture(tmp_path / "test/scene0/blur/000001.png"))
    torch.testing.assert_close(blurred[0].permute(1, 2, 0), torch.from_numpy(read).float() / 255)
    gamma = GOPROData(str(tmp_path), gamma=True, num_workers=0)
    gamma.setup("test")
    assert {Path(blurred).parent.name for blurred, _ in gamma.test.samples} == {"blur_gamma"}


def test_both_images_are_cut_alike(tmp_path):
    make_gopro(tmp_path)
    for part in ("train", "test"):
        for scene in (tmp_path / part).iterdir():
            (scene / "sharp/000001.png").write_bytes((scene / "blur/000001.png").read_bytes())
    data = GOPROData(str(tmp_path), batch_size=2, num_workers=0, crop=24)
    data.setup("fit")
    seen = set()
    for _ in range(20):
        blurred, sharp = data.train[0]
        assert torch.equal(blurred, sharp)
        seen.add(blurred.numpy().tobytes())
    assert len(seen) > 10


@pytest.mark.parametrize("kind", ["blur", "sharp"])
def test_images_without_a_partner(kind, tmp_path):
    make_gopro(tmp_path)
    (tmp_path / f"test/scene1/{kind}/000001.png").rename(tmp_path / f"test/scene1/{kind}/000002.png")
    with pytest.raises(FileNotFoundError, match=r"root must hold pairs .*, got 2 without a partner: .*scene1.*000001"):
        GOPROData(str(tmp_path), batch_size=2, num_workers=0, crop=24).setup("fit")


def test_what_is_wrong_with_pairs(tmp_path):
    make_gopro(tmp_path)
    said = (
        r"crop must be at most the sides .*, got crop=41 for 45 x 40 pixels in '.*train.* --data.init_args.crop 40\.$"
    )
    with pytest.raises(ValueError, match=said):
        GOPROData(str(tmp_path), batch_size=2, num_workers=0, crop=41).setup("fit")
    data = GOPROData(str(tmp_path), batch_size=3, num_workers=0, crop=24)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"batch_size must be at most the .* images, 2, got batch_size=3"):
        data.train_dataloader()
    save_image(tmp_path / "test/scene0/sharp/000001.png", 41, 40)
    with pytest.raises(ValueError, match=r"pairs must have one size, got 45 x 40 pixels .* and 41 x 40 .*sharp"):
        GOPROData(str(tmp_path), batch_size=2, num_workers=0, crop=24).setup("fit")
    (tmp_path / "test/scene0/sharp/000001.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"file must be a picture, got '.*test.scene0.sharp.000001.png'"):
        GOPROData(str(tmp_path), batch_size=2, num_workers=0, crop=24).setup("fit")
    with pytest.raises(FileNotFoundError, match="got 0 without a partner: no image at all"):
        GOPROData(str(tmp_path / "nowhere"), batch_size=2, num_workers=0, crop=24).setup("fit")


@pytest.mark.skipif(not (DATA / "GOPRO_Large").is_dir(), reason="TORCHDAU_DATA does not hold GOPRO_Large")
@pytest.mark.parametrize(("gamma", "expected"), [(False, 25.107), (True, 24.592)])
def test_psnr_of_a_real_pair(gamma, expected):
    data = GOPROData(str(DATA / "GOPRO_Large"), gamma=gamma, num_workers=0)
    data.setup("test")
    ((blurred, sharp),) = data.test
    psnr, ssim = scores(blurred.float(), sharp.float())
    assert psnr.item() == pytest.approx(expected, abs=1e-3)
    assert 0.5 < ssim.item() < 1
