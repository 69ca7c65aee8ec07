"""The weights that the repository holds: what they compute, and how accurate they are."""

import json
import os
from pathlib import Path

import pytest
import torch

import torchdau
from benchmarks.weights import logits_of
from torchdau.training import ImageFolderData

FILES = sorted((Path(__file__).parents[1] / "weights").glob("*.safetensors"))
DATA = Path(os.environ.get("TORCHDAU_DATA", "")) / "cifar10"


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request):
    return request.param


def known(file):
    return json.loads(file.with_suffix(".json").read_text())


def test_outputs(file):
    torch.testing.assert_close(
        logits_of(torchdau.load_model(file)), torch.tensor(known(file)["logits"]), atol=1e-3, rtol=1e-3
    )
    assert file.stat().st_size < 8e6
    assert f"{100 * known(file)['accuracy']:.2f} %" in (file.parent / "README.md").read_text()


@pytest.mark.skipif(not (DATA / "test").is_dir(), reason="TORCHDAU_DATA names no folder with cifar10/test")
def test_accuracy(file):
    data = ImageFolderData(str(DATA), batch_size=500, size=32)
    data.setup("test")
    network, right, images = torchdau.load_model(file).eval(), 0, 0
    with torch.inference_mode():
        for batch in data.test_dataloader():
            pixels, classes = data.on_after_batch_transfer(batch, 0)
            right += int((network(pixels).argmax(1) == classes).sum())
            images += len(classes)
    assert right / images == pytest.approx(known(file)["accuracy"], abs=3e-4)
