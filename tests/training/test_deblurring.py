"""Deblurring: loss and scores by hand, the commands on pictures as they come."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.training.test_cli import ROOT, pytestmark, torchdau  # noqa: F401
from tests.training.test_deblurring_data import make_gopro
from tests.training.test_segmentation_data import save_image
from torchdau import DAUConv2d, parameter_groups
from torchdau.models import dau_srn_deblurnet
from torchdau.training import Deblurring, GOPROData, PolynomialDecay
from torchdau.training.blur import blurred_by, shake
from torchdau.training.deblurring import deblurred, to_8_bits

LITTLE = "--model.init_args.network.init_args.widths"


class Brighter(nn.Module):
    """Adds a number; at two scales."""

    def __init__(self, step):
        super().__init__()
        self.step = nn.Parameter(torch.tensor(step))

    def forward(self, images):
        return [images[..., ::2, ::2] + self.step, images + self.step]


def trainer(tmp_path):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(max_epochs=1, enable_checkpointing=False, default_root_dir=tmp_path, **options)


def test_loss_is_summed_over_the_scales():
    task = Deblurring(Brighter(0.5))
    task.log = lambda *args, **kwargs: None
    images = torch.rand(2, 3, 8, 8).repeat_interleave(2, 2).repeat_interleave(2, 3)  # so that resizing changes nothing
    loss = task.training_step((images, images), 0)
    assert loss.item() == pytest.approx(0.25 + 0.25, rel=1e-5)


def test_scores_are_means_over_images(tmp_path):
    """A step of 10 / 255 is 28.13 dB, one of 1 / 255 is 48.13 dB: the mean is 38.13, not that of the mean error."""
    sharp = torch.full((2, 3, 32, 32), 100 / 255)
    blurred = sharp + torch.tensor([10.0, 1.0]).view(2, 1, 1, 1) / 255
    task = Deblurring(Brighter(0.0))
    loader = DataLoader(TensorDataset(blurred, sharp), batch_size=1)
    (metrics,) = trainer(tmp_path).test(task, loader, verbose=False)
    each = [20 * math.log10(255 / 10), 20 * math.log10(255)]
    assert metrics["test_psnr"] == pytest.approx(sum(each) / 2, abs=1e-3)
    c = (0.01 * 255) ** 2
    ssims = [(2 * 100 * (100 + step) + c) / (100**2 + (100 + step) ** 2 + c) for step in (10, 1)]
    assert metrics["test_ssim"] == pytest.approx(sum(ssims) / 2, abs=1e-3)


def test_results_are_of_8_bits():
    assert to_8_bits(torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 2.0])).tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize("size", [(33, 50), (16, 16), (5, 70)])
def test_images_of_any_size(size):
    torch.manual_seed(0)
    network = dau_srn_deblurnet(widths=(2, 3, 4)).eval()
    images = torch.rand(1, 3, *size)
    with torch.inference_mode():
        result = deblurred(network, images)
        tiled = deblurred(network, images, tile=512)
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    assert torch.equal(result, tiled)


def test_displacements_slow_down_in_a_line():
    model = nn.Sequential(DAUConv2d(1, 1), nn.Conv2d(1, 1, 1))
    optimizer = torch.optim.Adam(parameter_groups(model, 5e-4, 0, 1e-3))
    schedule = PolynomialDecay(optimizer, 100, power=0.3)
    rates = []
    for _ in range(101):
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    assert rates[0] == {"no_decay": 5e-4, "weights": 5e-4, "displacements": 1e-3}
    assert rates[75]["displacements"] == pytest.approx(0.25e-3)
    assert rates[75]["weights"] == pytest.approx(5e-4 * 0.25**0.3)
    assert set(rates[100].values()) == {0}


def little_checkpoint(torchdau, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("TORCHDAU_DATA", str(make_gopro(tmp_path / "data")))
    options = ["--data.init_args.crop", "32", "--data.init_args.batch_size", "2", "--data.init_args.num_workers", "0"]
    options += ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", LITTLE, "[2, 3, 4]"]
    options += ["--trainer.enable_progress_bar", "false"]
    torchdau("fit", "--config", ROOT / "recipes/gopro_dau_srn.yaml", *options)
    monkeypatch.delenv("TORCHDAU_DATA")
    (checkpoint,) = tmp_path.glob("runs/gopro/**/last.ckpt")
    return checkpoint


def test_fit_test_predict_deblur(torchdau, monkeypatch, tmp_path, capsys):  # noqa: F811
    checkpoint = little_checkpoint(torchdau, monkeypatch, tmp_path)
    monkeypatch.setenv("TORCHDAU_DATA", str(tmp_path / "data"))
    torchdau("test", "--ckpt_path", checkpoint)
    assert "test_psnr" in capsys.readouterr().out
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
    out = tmp_path / "out"
    torchdau("deblur", photos, "--checkpoint", checkpoint, "--output", out, "--compare", "true")
    assert "written: 4 pictures" in capsys.readouterr().out
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    both = {f"{name}{kind}.png" for name in ("a", "inside/b", "clear", "turned") for kind in ("", "_compare")}
    assert names == both
    with Image.open(out / "inside/b.png") as result:
        assert np.array_equal(np.array(result), expected)
    with Image.open(out / "clear.png") as result:
        assert result.mode == "RGBA"
        assert np.array_equal(np.array(result)[..., 3].ravel(), np.arange(1200, dtype=np.uint8))
    with Image.open(out / "turned.png") as result, Image.open(out / "turned_compare.png") as compared:
        assert (result.size, compared.size) == ((50, 60), (100, 60))


def test_what_deblur_refuses(torchdau, monkeypatch, tmp_path, capsys):  # noqa: F811
    checkpoint = little_checkpoint(torchdau, monkeypatch, tmp_path)
    save_image(tmp_path / "a.png", 20, 20)
    options = ["--checkpoint", checkpoint, "--output", tmp_path / "out"]
    torchdau("deblur", tmp_path / "a.png", *options)
    before = (tmp_path / "out/a.png").read_bytes()
    with pytest.raises(SystemExit, match=r"torchdau deblur: output must not hold .*, got 1 .* --overwrite true"):
        torchdau("deblur", tmp_path / "a.png", *options)
    assert (tmp_path / "out/a.png").read_bytes() == before
    torchdau("deblur", tmp_path / "a.png", *options, "--overwrite", "true")
    with pytest.raises(SystemExit, match=r"paths must name .*, got '.*nowhere.png', which is not there"):
        torchdau("deblur", tmp_path / "nowhere.png", *options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="pictures must name a folder with files that Pillow reads"):
        torchdau("deblur", tmp_path / "empty", *options)
    (tmp_path / "broken.png").write_bytes(before[:60])
    with pytest.raises(SystemExit, match=r"file must be a picture, got '.*broken.png'"):
        torchdau("deblur", tmp_path / "broken.png", *options)
    with pytest.raises(SystemExit, match="checkpoint must be a file that torchdau fit wrote"):
        torchdau("deblur", tmp_path / "a.png", "--checkpoint", tmp_path / "a.png", "--output", tmp_path / "other")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SystemExit, match="file"):
        torchdau("deblur", tmp_path / "a.png", "--checkpoint", checkpoint, "--output", tmp_path / "file")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png"]  # no parts
    capsys.readouterr()


def test_a_failed_write_leaves_what_was_there(torchdau, monkeypatch, tmp_path):  # noqa: F811
    checkpoint = little_checkpoint(torchdau, monkeypatch, tmp_path)
    save_image(tmp_path / "a.png", 20, 20)
    options = ["--checkpoint", checkpoint, "--output", tmp_path / "out"]
    torchdau("deblur", tmp_path / "a.png", *options)
    before = (tmp_path / "out/a.png").read_bytes()

    def full(self, file, *args, **kwargs):
        Path(file).write_bytes(before[:30])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(SystemExit, match="No space left on device"):
        torchdau("deblur", tmp_path / "a.png", *options, "--overwrite", "true")
    assert (tmp_path / "out/a.png").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_a_shake():
    for seed in range(20):
        kernel = shake(21, torch.Generator().manual_seed(seed))
        assert kernel.shape == (21, 21)
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        places = torch.arange(21.0) - 10
        assert abs((kernel.sum(0) * places).sum()) < 1e-4  # its mean is the middle
        assert abs((kernel.sum(1) * places).sum()) < 1e-4
        assert (kernel > 0).sum() > 15
    assert not torch.equal(shake(21, torch.Generator().manual_seed(0)), shake(21, torch.Generator().manual_seed(1)))


def test_light_is_blurred_and_not_its_code():
    """Half black, half white in light is 255 * 0.5 ** (1 / 2.2); the kernel is a convolution's."""
    image = torch.zeros(3, 5, 6, dtype=torch.uint8)
    image[..., 3:] = 255
    kernel = torch.zeros(3, 3)
    kernel[1, 0], kernel[1, 1] = 0.5, 0.5  # the pixel itself and, in a convolution, its right neighbour
    result = blurred_by(image, kernel)
    half = round(255 * 0.5 ** (1 / 2.2))
    assert result.shape == (3, 3, 4)
    assert result[0, 0].tolist() == [0, half, 255, 255]
    assert torch.equal(blurred_by(image, torch.eye(3)[1][:, None] * torch.eye(3)[1]), image[:, 1:-1, 1:-1])


def test_pairs_of_photographs(torchdau, tmp_path, capsys):  # noqa: F811
    for index in range(10):
        save_image(tmp_path / f"photos/{index}.jpg", 60, 50, seed=index)
    make = partial(torchdau, "blur", tmp_path / "photos", "--kernels", "2", "--largest", "9")
    make("--output", tmp_path / "pairs")
    assert "written: 20 pairs" in capsys.readouterr().out
    data = GOPROData(str(tmp_path / "pairs"), batch_size=2, num_workers=0, crop=24)
    data.setup("fit")
    assert (len(data.train), len(data.test)) == (18, 2)
    assert data.test[0][0].shape == (3, 42, 52)
    make("--output", tmp_path / "again")
    for path in (tmp_path / "pairs").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "pairs")).read_bytes()
    make("--output", tmp_path / "other", "--seed", "1")
    with pytest.raises(SystemExit, match=r"torchdau blur: output must be a new folder, got '.*pairs', which is there"):
        make("--output", tmp_path / "pairs")
    with pytest.raises(SystemExit, match=r"largest must be odd and at least 3, .* got largest=4"):
        make("--output", tmp_path / "new", "--largest", "4")
    with pytest.raises(SystemExit, match=r"largest must be smaller than photographs, got largest=51 for '.*0.jpg'"):
        make("--output", tmp_path / "new", "--largest", "51")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "other", "pairs", "photos"]
