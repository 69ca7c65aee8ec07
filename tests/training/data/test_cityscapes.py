"""Cityscapes: its ids and its files."""

import os
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import Cityscapes

from tests.training.data.layouts import make_cityscapes, numbers_of, save_mask
from torchdau.training import CityscapesData
from torchdau.training.data.masks import read_mask

DATA = Path(os.environ.get("TORCHDAU_DATA", "nowhere"))


def test_cityscapes(tmp_path):
    data = CityscapesData(str(make_cityscapes(tmp_path)), batch_size=2, num_workers=0, crop=24)
    data.setup("fit")
    image, mask = data.val[0]
    assert (image.shape, mask.shape) == ((3, 30, 40), (30, 40))
    ids = numbers_of(34)
    expected = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    expected |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    for number in range(34):
        assert (mask.numpy()[ids == number] == expected.get(number, 255)).all()
    assert data.classes[0] == "road"
    assert data.classes[18] == "bicycle"
    assert data.colours[10] == (70, 130, 180)  # sky
    assert [name for name, _ in sorted((Path(s[0]).name, 0) for s in data.val.samples)] == [
        Path(s[0]).name for s in data.val.samples
    ]


@pytest.mark.skipif(not (DATA / "cityscapes").is_dir(), reason="TORCHDAU_DATA does not hold cityscapes")
def test_the_id_map_of_a_real_file():
    """Both files were brought to 256 x 128 on their own, so pixels between two classes may differ; no id does."""
    data = CityscapesData(str(DATA / "cityscapes"), num_workers=0)
    data.setup("fit")
    (sample,) = data.val.samples
    golden = read_mask(sample[1].replace("labelIds", "labelTrainIds"))
    ids = read_mask(sample[1])
    for number in ids.unique().tolist():
        assert golden[ids == number].mode().values == data.table[number], Cityscapes.classes[number].name
    assert (data.val.mask(sample[1]) != golden).float().mean() < 0.003


def test_ids_that_cityscapes_does_not_have(tmp_path):
    make_cityscapes(tmp_path)
    path = tmp_path / "gtFine/val/frankfurt/frankfurt_000000_000019_gtFine_labelIds.png"
    save_mask(path, np.full((30, 40), 34))
    data = CityscapesData(str(tmp_path), batch_size=2, num_workers=0, crop=24)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"masks must have known numbers, got 34 in '.*frankfurt_000000"):
        data.val[0]
    save_mask(path, np.full((30, 40), 255))  # the license plate
    assert data.val[0][1].unique().tolist() == [255]
