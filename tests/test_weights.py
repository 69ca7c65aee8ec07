"""The weights that the repository holds: what they compute, and how good they are."""

import json
import os
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_sample_image

import torchdau
from benchmarks.weights import outputs_of
from torchdau.training import ImageFolderData
from torchdau.training.deblurring import scores
from torchdau.training.shake import blurred_by, shake
from torchdau.training.sharp import deblurred, to_8_bits

FOLDER = Path(__file__).parents[1] / "weights"
DATA = Path(os.environ.get("TORCHDAU_DATA", "")) / "cifar10"


def known(file):
    return json.loads(file.with_suffix(".json").read_text())


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.safetensors")), ids=lambda file: file.stem)
def test_outputs(file):
    network, expected = torchdau.load_model(file).float(), known(file)
    torch.testing.assert_close(outputs_of(network), torch.tensor(expected["outputs"]), atol=1e-3, rtol=1e-3)
    assert file.stat().st_size < 8e6
    score = f"{expected['test_psnr']:.2f} dB" if "test_psnr" in expected else f"{100 * expected['test_accuracy']:.2f} %"
    assert score in (FOLDER / "README.md").read_text()


@pytest.mark.skipif(not (DATA / "test").is_dir(), reason="TORCHDAU_DATA names no folder with cifar10/test")
def test_accuracy():
    file = FOLDER / "cifar10_dau_resnet20.safetensors"
    data = ImageFolderData(str(DATA), batch_size=500, size=32)
    data.setup("test")
    network, right, images = torchdau.load_model(file).eval(), 0, 0
    with torch.inference_mode():
        for batch in data.test_dataloader():
            pixels, classes = data.on_after_batch_transfer(batch, 0)
            right += int((network(pixels).argmax(1) == classes).sum())
            images += len(classes)
    assert right / images == pytest.approx(known(file)["test_accuracy"], abs=3e-4)


def test_a_blurred_photograph_becomes_sharper():
    """One that no training piece shows, under kernels that none was blurred by."""
    network = torchdau.load_model(FOLDER / "photographs_dau_srn.safetensors").float().eval()
    photograph = torch.tensor(load_sample_image("flower.jpg")).permute(2, 0, 1)[:, 100:356, 200:456]
    generator, gains = torch.Generator().manual_seed(1), []
    for side in (9, 13, 17):
        margin = side // 2
        blurred, sharp = blurred_by(photograph, shake(side, generator)), photograph[:, margin:-margin, margin:-margin]
        with torch.inference_mode():
            result = to_8_bits(deblurred(network, blurred[None] / 255))[0]
        gains.append((scores(result.float(), sharp.float())[0] - scores(blurred.float(), sharp.float())[0]).item())
    assert sum(gains) / 3 > 1, gains
