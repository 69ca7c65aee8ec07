"""PASCAL VOC joined with SBD."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from tests.training.data.layouts import make_voc, numbers_of
from torchdau.training import VOCData
from torchdau.training.data.masks import read_mask


def names(dataset):
    return {Path(image).stem: Path(mask) for image, mask in dataset.samples}


def test_voc_joined_with_sbd(tmp_path):
    data = VOCData(str(make_voc(tmp_path)), batch_size=2, num_workers=0, crop=24)
    data.setup("fit")
    train, val = names(data.train), names(data.val)
    assert {name: path.suffix for name, path in train.items()} == {"a": ".png", "b": ".png", "c": ".mat", "d": ".mat"}
    assert val.keys() == {"e", "f"}  # the other is in SBD's training set
    assert torch.equal(data.val[0][1], torch.from_numpy(numbers_of(21, seed=3)))  # indices of a palette
    assert torch.equal(data.train.mask(str(train["c"])), torch.from_numpy(numbers_of(21, seed=51)))
    image, mask = data.train[0]
    assert (image.shape, mask.shape, image.dtype, mask.dtype) == ((3, 24, 24), (24, 24), torch.uint8, torch.uint8)
    assert len(data.classes) == len(data.colours) == 21
    assert data.colours[:3] == [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    assert data.colours[15] == (192, 128, 128)


@pytest.mark.parametrize("content", [b"", b"no matrix", None])
def test_damaged_masks_of_sbd(content, tmp_path):
    file = tmp_path / "a.mat"
    if content is None:
        savemat(file, {"other": np.zeros(3)})
    else:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"file must be a mask of SBD, got '.*a.mat'"):
        read_mask(file)
