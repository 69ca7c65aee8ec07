"""Small sets in memory: batches of images that are each cut out and mirrored in their own way."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from torchdau.training import ImageFolderData
from torchdau.training.data import in_memory
from torchdau.training.data.in_memory import InMemory, parts


def numbered(count, size=6):
    """Images no two of which are alike."""
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_parts_of_images():
    images, generator = numbered(5), torch.Generator().manual_seed(1)
    chosen, offsets = torch.tensor([4, 0, 2]), torch.randint(0, 3, (3, 2), generator=generator)
    mirrored = torch.tensor([True, False, True])
    for number, got in enumerate(parts(images, (4, 3), chosen, offsets, mirrored)):
        y, x = offsets[number].tolist()
        part = images[chosen[number], :, y : y + 4, x : x + 3]
        assert torch.equal(got, part.flip(-1) if mirrored[number] else part)


def test_padding():
    dataset = InMemory(numbered(9), torch.arange(9), padding=2)
    (offsets, _), padded = dataset._random(0), F.pad(numbered(9), (2,) * 4)
    for image, whole, (y, x) in zip(dataset.batch(range(9), 0)[0], padded, offsets, strict=True):
        assert torch.equal(image, whole[:, y : y + 6, x : x + 6])


def test_random_numbers_depend_on_seed_epoch_and_index_alone(monkeypatch):
    dataset = InMemory(numbered(50), torch.arange(50), padding=2, mirror=True)
    whole = dataset.batch(range(50), epoch=3)[0]
    other = InMemory(numbered(50), torch.arange(50), padding=2, mirror=True)
    images, targets = other.batch([7, 3, 41], epoch=3)
    assert torch.equal(images, whole[[7, 3, 41]])
    assert targets.tolist() == [7, 3, 41]
    assert not torch.equal(dataset.batch(range(50), epoch=4)[0], whole)
    offsets, mirrored = dataset._random(3)
    assert len(offsets.unique(dim=0)) > 10
    assert 10 < mirrored.sum() < 40
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    assert not torch.equal(InMemory(numbered(50), torch.arange(50), 2, True).batch(range(50), 3)[0], whole)


def test_without_augmentation_images_stay():
    dataset = InMemory(numbered(5), torch.arange(5))
    assert torch.equal(dataset.batch([4, 0], 0)[0], numbered(5)[[4, 0]])
    assert torch.equal(dataset.__getitems__([1])[0], dataset[1][0][None])


@pytest.fixture
def folder(tmp_path):
    for number, image in enumerate(numbered(12)):
        path = tmp_path / ("train" if number < 8 else "test") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_is_held(folder, workers):
    data = ImageFolderData(str(folder), batch_size=4, num_workers=workers, size=6, padding=1)
    data.setup("fit")
    assert isinstance(data.train, InMemory)
    assert data.classes == ["a", "b"]
    assert data.test.samples[0][0].endswith("10.png")
    loader = data.train_dataloader()
    assert loader.num_workers == 0
    loader.sampler.set_epoch(1)
    images, targets = (torch.cat(part) for part in zip(*loader, strict=True))
    order = [index for index, _ in loader.sampler]
    assert torch.equal(images, data.train.batch(order, 1)[0])
    assert torch.equal(targets, data.train.targets[order])
    (images, targets), *_ = data.val_dataloader()
    assert torch.equal(images, numbered(12)[[10, 8, 11, 9]].sort(0)[0]) or torch.equal(images, data.test.images)
    assert targets.tolist() == [0, 0, 1, 1]


def test_a_large_set_is_not_held(folder, monkeypatch):
    monkeypatch.setattr(in_memory, "LARGEST", 3 * 6 * 6 * 7)
    data = ImageFolderData(str(folder), num_workers=0, size=6)
    data.setup("fit")
    assert not isinstance(data.train, InMemory)  # 8 images
    assert isinstance(data.test, InMemory)  # 4


def test_an_image_that_cannot_be_read(folder):
    (folder / "train" / "a" / "4.png").write_bytes(b"")
    data = ImageFolderData(str(folder), num_workers=0, size=6)
    with pytest.raises(ValueError, match=r"4\.png"):
        data.setup("fit")
    data = ImageFolderData(str(folder), num_workers=0, size=6, max_unreadable=0.2)
    with pytest.warns(UserWarning, match=r"others stood in for 1 unreadable training samples:\n.*4\.png"):
        data.setup("fit")
    assert torch.equal(data.train.images[2], data.train.images[3])
