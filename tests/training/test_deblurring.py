"""Deblurring: loss and scores by hand, the commands on pictures as they come."""

import math

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchdau.models import dau_srn_deblurnet
from torchdau.training import Deblurring
from torchdau.training.sharp import deblurred, to_8_bits


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


@pytest.mark.parametrize(("loss", "expected"), [(None, 0.25), (nn.L1Loss(), 0.5)])
def test_loss_is_summed_over_the_scales(loss, expected):
    task = Deblurring(Brighter(0.5), loss=loss)
    task.log = lambda *args, **kwargs: None
    images = torch.rand(2, 3, 8, 8).repeat_interleave(2, 2).repeat_interleave(2, 3)  # so that resizing changes nothing
    assert task.training_step((images, images), 0).item() == pytest.approx(2 * expected, rel=1e-5)


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
    (brighter,) = trainer(tmp_path).test(Deblurring(Brighter(20 / 255)), loader, verbose=False)
    assert brighter["test_psnr"] < metrics["test_psnr"] - 10
    assert brighter["test_blurred_psnr"] == metrics["test_psnr"]  # whatever the network does
    assert brighter["test_blurred_ssim"] == metrics["test_ssim"]


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
    assert result.dtype == torch.float32
    assert 0 <= result.min() <= result.max() <= 1
    assert torch.equal(result, tiled)
