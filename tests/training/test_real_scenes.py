"""Real images of PASCAL VOC and Cityscapes, where TORCHDAU_DATA holds some: all are read, and learned by heart."""

import os
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from torchdau import parameter_groups
from torchdau.models import dau_deeplab
from torchdau.training import CityscapesData, VOCData
from torchdau.training.data.pairs import ImagesAndMasks
from torchdau.training.data.segmentation import Augment

DATA = Path(os.environ.get("TORCHDAU_DATA", "nowhere"))
SETS = {
    "voc": (VOCData, {"root": str(DATA), "year": "2012", "sbd": "sbd_like/benchmark_RELEASE/dataset", "crop": 320}),
    "cityscapes": (CityscapesData, {"root": str(DATA / "cityscapes"), "crop": 320, "scales": (0.25, 0.25)}),
}


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "VOCdevkit").is_dir(), reason="TORCHDAU_DATA does not hold VOCdevkit and cityscapes")
@pytest.mark.parametrize("name", SETS)
def test_a_few_images_are_learned_by_heart(name):
    torch.manual_seed(0)
    make, options = SETS[name]
    data = make(**options, batch_size=2, num_workers=0)
    pairs = data.pairs(True) + data.pairs(False)
    images = ImagesAndMasks(pairs, len(data.classes), data.table, Augment(data.crop, data.scales))
    images.check(all_pixels=True)
    assert len(images) == {"voc": 4, "cityscapes": 9}[name]
    classes = len(data.classes)
    network = dau_deeplab("resnetv2_18", classes, False, True, True, spread=False, width_factor=0.5, width=64)
    optimizer = torch.optim.SGD(parameter_groups(network, 0.05), momentum=0.9)
    accuracies = []
    for _ in range({"voc": 80, "cityscapes": 80}[name]):
        for batch in DataLoader(images, batch_size=4, shuffle=True, drop_last=True):
            pixels, masks = data.on_after_batch_transfer(batch, 0)
            logits = network(pixels)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, masks.long(), ignore_index=255).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            counted = masks != 255
            accuracies.append((logits.argmax(1) == masks)[counted].float().mean().item())
    last = sum(accuracies[-10:]) / 10
    print(f"{name}: {last:.1%} of the pixels after {len(accuracies)} steps")  # noqa: T201
    assert last > 0.9
