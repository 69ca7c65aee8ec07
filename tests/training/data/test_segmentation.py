"""Images and masks in folders: how they are read and augmented; what is wrong with them, by name, before training."""

import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.data.layouts import make_pairs, numbers_of, save_mask
from torchdau.training import CityscapesData, SegmentationFolderData, VOCData


def folder(tmp_path, **changes):
    data = SegmentationFolderData(list("abcdefghijk"), str(tmp_path), batch_size=2, num_workers=0, **changes)
    data.setup("fit")
    return data


def test_folders_of_images_and_masks(tmp_path):
    data = SegmentationFolderData(list("abcdefghijk"), str(make_pairs(tmp_path)), batch_size=3, num_workers=0, crop=24)
    data.setup("fit")
    images, masks = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert (images.shape, masks.shape) == ((3, 3, 24, 24), (3, 24, 24))
    assert images.dtype == torch.float32
    images, masks = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert (images.shape, masks.shape) == ((1, 3, 30, 40), (1, 30, 40))
    assert torch.equal(masks[0], torch.from_numpy(numbers_of(11)))
    half = SegmentationFolderData(list("abcdefghijk"), str(tmp_path), batch_size=3, num_workers=0, crop=24, size=15)
    half.setup("test")
    assert half.val[0][0].shape == (3, 15, 20)
    assert half.val[0][1].shape == (15, 20)


def test_image_and_mask_are_changed_together(tmp_path):
    """Where the mask says the side of an image, the pixels must say so too, whatever was scaled, cut or mirrored."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 30:] = 255
    pixels[20:, :, 0] = 128
    for part in ("train", "val"):
        (tmp_path / part / "images").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / part / "images/0.png")
        save_mask(tmp_path / part / "masks/0.png", (pixels[..., 1] > 0) + 2 * (pixels[..., 0] == 128))
    data = SegmentationFolderData(list("abcd"), str(tmp_path), batch_size=1, num_workers=0, crop=32)
    data.setup("fit")
    sizes, sides = set(), set()
    for _ in range(40):
        image, mask = data.train[0]
        expected = (image[1] > 128).int() + 2 * ((image[0].int() - 128).abs() < 32).int()
        inside = mask != 255
        assert (mask[inside] == expected[inside]).float().mean() > 0.9  # all but pixels between two colours
        sizes.add(int(inside.sum()))
        sides.add(bool(image[1, :, :4].float().mean() > image[1, :, -4:].float().mean()))
        mean = torch.tensor([124, 116, 104])
        assert (image.permute(1, 2, 0)[~inside].int() - mean).abs().max() <= 1 if not inside.all() else True
    assert len(sizes) > 5
    assert sides == {True, False}  # mirrored, or not


def test_workers_are_sent_little(tmp_path):
    """The set alone, and not the module with its trainer and network."""
    data = SegmentationFolderData(list("abcdefghijk"), str(make_pairs(tmp_path)), batch_size=2, num_workers=0, crop=24)
    data.setup("fit")
    data.trainer = lambda: "cannot be pickled"
    assert len(pickle.dumps(data.train)) < 10_000
    assert len(pickle.dumps(data.val)) < 10_000


def test_a_class_that_never_occurs(tmp_path):
    make_pairs(tmp_path, classes=2)
    with pytest.warns(UserWarning, match="training masks have no pixel of rare, never. 255 is no class"):
        SegmentationFolderData(["a", "b", "rare", "never"], str(tmp_path), batch_size=2, num_workers=0).setup("fit")


def test_more_in_a_batch_than_there_are(tmp_path):
    data = folder(make_pairs(tmp_path, count=1))
    with pytest.raises(ValueError, match=r"batch_size must be at most .* training images, 1, got batch_size=2"):
        data.train_dataloader()


def bad(tmp_path, name, message):
    """One error, which names the file, before anything is trained on."""
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){message}") as caught:
        folder(tmp_path)
    assert re.search(rf"val.masks.{name}|val.images.{name}", str(caught.value))


def test_images_without_masks(tmp_path):
    make_pairs(tmp_path)
    (tmp_path / "val/masks/1.png").unlink()
    bad(tmp_path, "1.jpg", "root must hold for every image a mask of the same name, but .* has 1 alone")


def test_sizes_that_differ(tmp_path):
    make_pairs(tmp_path)
    save_mask(tmp_path / "val/masks/2.png", numbers_of(11, 41, 30))
    bad(tmp_path, "2.png", "masks must have the size of their images, got 41 x 30 pixels in .* for 40 x 30 in .*2.jpg")


def test_numbers_of_no_class(tmp_path):
    make_pairs(tmp_path)
    save_mask(tmp_path / "val/masks/0.png", numbers_of(13))
    bad(tmp_path, "0.png", "masks must have numbers below 11, the number of classes, or 255, got 12")


@pytest.mark.parametrize(("mode", "shown"), [("RGB", "RGB"), ("RGBA", "RGBA"), ("LA", "LA")])
def test_masks_in_colour(mode, shown, tmp_path):
    make_pairs(tmp_path)
    Image.new(mode, (40, 30)).save(tmp_path / "val/masks/0.png")
    bad(tmp_path, "0.png", f"file must be a mask whose pixels are numbers of classes, .* in the mode '{shown}'")


def test_masks_of_16_bits(tmp_path):
    make_pairs(tmp_path)
    Image.fromarray(np.full((30, 40), 3, np.uint16)).save(tmp_path / "val/masks/0.png")
    assert folder(tmp_path).val[0][1].unique().tolist() == [3]
    Image.fromarray(np.full((30, 40), 300, np.uint16)).save(tmp_path / "val/masks/0.png")
    bad(tmp_path, "0.png", "file must be a mask of numbers to 255, got .* with 300")


def test_masks_that_are_inexact(tmp_path):
    make_pairs(tmp_path)
    (tmp_path / "val/masks/0.png").unlink()
    Image.fromarray(numbers_of(11)).save(tmp_path / "val/masks/0.jpg")
    bad(tmp_path, "0.jpg", "file must be a mask, got .* a JPEG, whose numbers are inexact")


@pytest.mark.parametrize("part", ["images/0.jpg", "masks/0.png"])
@pytest.mark.parametrize("content", ["empty", "text", "half"])
def test_damaged_files(part, content, tmp_path):
    """Of images the head alone is read before training, the rest when they come."""
    make_pairs(tmp_path)
    path = tmp_path / "val" / part
    path.write_bytes(
        {"empty": b"", "text": b"no image", "half": path.read_bytes()[: path.stat().st_size // 2]}[content]
    )
    if (part, content) == ("images/0.jpg", "half"):
        with pytest.raises(ValueError, match=r"file must be a picture, got '.*val.images.0.jpg'"):
            folder(tmp_path).val[0]
    else:
        bad(tmp_path, path.name, "file must be a (mask|picture), got")


def test_several_faults_at_once(tmp_path):
    make_pairs(tmp_path, count=9)
    for index in range(7):
        save_mask(tmp_path / f"val/masks/{index}.png", numbers_of(13, seed=index))
    with pytest.raises(ValueError, match=r"(?s)got 12 in .*0.png.*got 12 in .*4.png'.\n... and 2 more."):
        folder(tmp_path)


def test_pictures_that_are_turned(tmp_path):
    make_pairs(tmp_path)
    picture = Image.open(tmp_path / "val/images/0.jpg")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "val/images/0.jpg", exif=exif)
    bad(tmp_path, "0.png", "masks must have the size of their images, got 40 x 30 pixels in .* for 30 x 40")


def test_missing_folders(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHDAU_DATA", raising=False)
    for make in (VOCData, CityscapesData):
        with pytest.raises(ValueError, match="root must name the folder of the data set, got root=None"):
            make()
        with pytest.raises(FileNotFoundError, match=f"root must hold .*, got root='{re.escape(str(tmp_path))}': "):
            make(str(tmp_path)).setup("fit")
    with pytest.raises(FileNotFoundError, match=r"root must hold train and val .*, but .*train.images is missing"):
        folder(tmp_path)
    (tmp_path / "train/images").mkdir(parents=True)
    (tmp_path / "train/masks").mkdir()
    with pytest.raises(FileNotFoundError, match="has 0 alone: no image at all"):
        folder(tmp_path)
