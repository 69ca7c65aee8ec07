import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.data.layouts import make_cifar10, make_folder
from torchdau.training import CIFAR10Data, DigitsData, ImageFolderData, ImageNetData
from torchdau.training.data import classification


def test_image_folder(tmp_path):
    data = ImageFolderData(str(make_folder(tmp_path)), batch_size=8, num_workers=0)
    data.setup("fit")
    images, labels = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert images.shape == (8, 3, 32, 32)
    assert labels.tolist() == [0] * 4 + [1] * 4
    raw = torch.from_numpy(np.array(Image.open(tmp_path / "test/cat/0000.png"))).permute(2, 0, 1) / 255
    mean, std = torch.tensor([0.491, 0.482, 0.447]), torch.tensor([0.247, 0.243, 0.262])
    torch.testing.assert_close(images[0], (raw - mean[:, None, None]) / std[:, None, None])


def test_training_order_changes_and_all_images_come(tmp_path):
    data = ImageFolderData(str(make_folder(tmp_path, count=16)), batch_size=32, num_workers=0)
    data.setup("fit")
    loader = data.train_dataloader()
    first = next(iter(loader))[1].tolist()
    loader.sampler.set_epoch(1)
    second = next(iter(loader))[1].tolist()
    assert first != second
    assert sorted(first) == sorted(second) == [0] * 16 + [1] * 16


def test_training_images_are_mirrored_and_shifted(tmp_path):
    root = str(make_folder(tmp_path, sets=["train", "test"], count=1, size=8))
    data = ImageFolderData(root, num_workers=0, size=8, mirror=True, padding=2)
    data.setup("fit")
    plain = ImageFolderData(root, num_workers=0, size=8)
    plain.setup("fit")
    image = torch.nn.functional.pad(plain.train[0][0], (2, 2, 2, 2))
    parts = [image[:, y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
    parts = {part.numpy().tobytes() for image in parts for part in (image, image.flip(2).contiguous())}
    seen = {data.train.batch([0], epoch)[0][0].numpy().tobytes() for epoch in range(300)}
    assert seen <= parts
    assert len(seen) > 45
    assert torch.equal(data.test[0][0], plain.test[0][0])


def test_padding_needs_a_size(tmp_path):
    with pytest.raises(ValueError, match="size must be given with padding, got size=None for padding=4"):
        ImageFolderData(str(tmp_path), padding=4)


def test_a_share_of_one_folder_is_the_test_set(tmp_path):
    make_folder(tmp_path, sets=[""], count=100, size=8)
    data = ImageFolderData(str(tmp_path), num_workers=0, test_share=0.3)
    data.setup("fit")
    train, test = ({file for file, _ in images.samples} for images in (data.train, data.test))
    assert (len(train | test), len(train & test)) == (200, 0)
    assert 40 < len(test) < 80
    assert data.classes == ["cat", "dog"]
    (tmp_path / "cat/0000.png").rename(tmp_path / "cat/aaaa.png")
    again = ImageFolderData(str(tmp_path), num_workers=0, test_share=0.3)
    again.setup("fit")
    assert not train & {file for file, _ in again.test.samples}, "no image changes sides"


@pytest.mark.parametrize("share", [0, 1, -0.2])
def test_a_share_that_leaves_nothing(tmp_path, share):
    with pytest.raises(ValueError, match=f"test_share must be between 0 and 1, got test_share={share}"):
        ImageFolderData(str(tmp_path), test_share=share)


def test_a_share_of_too_few(tmp_path):
    make_folder(tmp_path, sets=[""], count=2)
    with pytest.raises(ValueError, match=r"test_share must leave images for both sets, got test_share=1e-06 of 4 imag"):
        ImageFolderData(str(tmp_path), num_workers=0, test_share=1e-6).setup("test")


def test_one_folder_without_a_share(tmp_path):
    make_folder(tmp_path, sets=[""])
    with pytest.raises(FileNotFoundError, match=f"no folder {tmp_path}/train. For images in {tmp_path}/CLASS, give te"):
        ImageFolderData(str(tmp_path), num_workers=0).setup("fit")


def test_a_root_that_is_misspelled(tmp_path):
    for share in (0.2, None):
        with pytest.raises(FileNotFoundError, match=r"There is no folder \S+\.$"):
            ImageFolderData(str(tmp_path / "petz"), num_workers=0, test_share=share).setup("fit")


def test_a_root_at_home(tmp_path, monkeypatch):
    """No shell replaces ~ in a recipe."""
    monkeypatch.setenv("HOME", str(make_folder(tmp_path)))
    data = ImageFolderData("~", num_workers=0)
    data.setup("test")
    assert len(data.test) == 8


@pytest.mark.parametrize(("batch_size", "batches"), [(5, [5, 5, 5, 2]), (16, [16]), (17, [17]), (20, [17])])
def test_a_last_batch_of_one_is_left_out(tmp_path, batch_size, batches):
    make_folder(tmp_path, count=8, size=8)
    (tmp_path / "train/cat/more.png").write_bytes((tmp_path / "train/cat/0000.png").read_bytes())
    data = ImageFolderData(str(tmp_path), num_workers=0, batch_size=batch_size)
    data.setup("fit")
    assert [len(labels) for _, labels in data.train_dataloader()] == batches


def test_folders_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHDAU_DATA", str(make_folder(tmp_path)))
    data = ImageFolderData(num_workers=0)
    data.setup("test")
    assert len(data.test) == 8
    monkeypatch.delenv("TORCHDAU_DATA")
    with pytest.raises(ValueError, match="root must name the folder of the data set, got root=None"):
        ImageFolderData()


def test_files_that_are_no_pictures_are_refused_before_the_training(tmp_path):
    make_folder(tmp_path, ("train", "test"), classes=["cat"], count=3)
    (tmp_path / "train/cat/x.png").write_text("no picture")
    (tmp_path / "train/cat/y.png").touch()
    for size in (None, 8):  # read as they come, held in memory
        with pytest.raises(ValueError, match=r"file must be a picture, got '.*cat/x.png'"):
            ImageFolderData(str(tmp_path), num_workers=0, size=size).setup("fit")
    data = ImageFolderData(str(tmp_path), num_workers=0, max_unreadable=0.5)
    data.setup("fit")
    assert len(data.train) == 5
    (tmp_path / "test/cat/z.png").touch()  # no validation image may be missing
    with pytest.raises(ValueError, match=r"file must be a picture, got '.*cat/z.png'"):
        ImageFolderData(str(tmp_path), num_workers=0, max_unreadable=0.5).setup("fit")


def test_what_was_checked_is_remembered(tmp_path, monkeypatch):
    make_folder(tmp_path, ("train", "test"), classes=["cat"], count=3)
    checked = []
    fault = classification.header_fault
    monkeypatch.setattr(classification, "header_fault", lambda file: checked.append(file) or fault(file))
    for number in range(3):
        if number == 2:
            os.utime(tmp_path / "train/cat/0001.png", (1, 1))
        ImageFolderData(str(tmp_path), num_workers=0).setup("fit")
        assert len(checked) == [6, 6, 9][number]  # the training set again
    (tmp_path / "train/cat/x.png").touch()
    for _ in range(2):  # what has a fault is not
        with pytest.raises(ValueError, match=r"got '.*cat/x.png'"):
            ImageFolderData(str(tmp_path), num_workers=0).setup("fit")
    monkeypatch.setenv("TORCH_HOME", "/dev/null/nowhere")
    (tmp_path / "train/cat/x.png").unlink()
    ImageFolderData(str(tmp_path), num_workers=0).setup("fit")  # nowhere to remember it


def test_missing_and_empty_folders(tmp_path):
    make_folder(tmp_path, sets=["train"])
    data = ImageFolderData(str(tmp_path), num_workers=0)
    with pytest.raises(FileNotFoundError, match=r"root must hold .*test/CLASS/IMAGE.* There is no folder .*test"):
        data.setup("fit")
    (tmp_path / "test").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"root must hold .*test/CLASS/IMAGE.* There is no folder of a class in it"
    ):
        data.setup("fit")
    (tmp_path / "test" / "cat").mkdir()
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(FileNotFoundError, match=r"root must hold .*test/CLASS/IMAGE.* no valid file for .* cat, dog"):
        data.setup("fit")


def test_sets_with_other_classes(tmp_path):
    make_folder(tmp_path, sets=["train"], classes=["cat", "dog", "eel"])
    make_folder(tmp_path, sets=["test"], classes=["cat", "eel"])
    with pytest.raises(ValueError, match="must have folders for the same classes, got dog in one only"):
        ImageFolderData(str(tmp_path)).setup("fit")


def test_missing_and_damaged_cifar10(tmp_path):
    for make in (lambda: None, lambda: make_cifar10(tmp_path)):
        make()
        data = CIFAR10Data(str(tmp_path))
        data.prepare_data()
        with pytest.raises(FileNotFoundError, match=r"root must hold .*cifar-10-batches-py .* missing or damaged"):
            data.setup("fit")


def test_digits():
    data = DigitsData(batch_size=2000)
    data.setup("fit")
    assert (len(data.train), len(data.test)) == (1437, 360)
    images, labels = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert images.shape == (1437, 1, 8, 8)
    assert set(labels.tolist()) == set(range(10))
    assert images.mean().abs() < 0.02
    assert (images.std() - 1).abs() < 0.02


def test_imagenet(tmp_path):
    """The middle of a wide image, at the asked size; mirrored for training only, half of the time."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:40, 0], pixels[:, 40:60, 1] = 255, 255  # the middle square: red on the left, green on the right
    for folder in ("train", "val"):
        (tmp_path / folder / "n01440764").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / folder / "n01440764/wide.JPEG", quality=95, subsampling=0)
    data = ImageNetData(str(tmp_path), size=20, batch_size=1, num_workers=0)
    data.setup("fit")
    seen = []
    for dataset, number in ((data.test, 5), (data.train, 60)):
        images = [dataset.batch([0], epoch)[0][0] for epoch in range(number)]
        assert {(image.shape, image.dtype) for image in images} == {((3, 20, 20), torch.uint8)}
        red_left = [image[0, 5, 2] > 200 and image[1, 5, 17] > 200 for image in images]
        red_right = [image[0, 5, 17] > 200 and image[1, 5, 2] > 200 for image in images]
        assert all(a != b for a, b in zip(red_left, red_right, strict=True))
        seen.append(sum(map(bool, red_right)) / number)
    assert seen[0] == 0
    assert 0.3 < seen[1] < 0.7


def test_devices_share_a_batch():
    data = DigitsData(batch_size=32)
    data.setup("fit")
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(world_size=4, global_rank=0, strategy=strategy)
    assert data.train_dataloader().batch_size == 8
    data.trainer.world_size = 5
    with pytest.raises(ValueError, match=r"batch_size must be a multiple of the .* got batch_size=32 for 5 devices"):
        data.train_dataloader()


def test_fewer_images_than_devices(tmp_path):
    data = ImageFolderData(str(make_folder(tmp_path, count=1)), num_workers=0)
    data.setup("test")
    data.trainer = SimpleNamespace(world_size=3, global_rank=0)
    with pytest.raises(ValueError, match=r"devices must be at most the number of images .*, 2, got devices=3"):
        data.test_dataloader()
