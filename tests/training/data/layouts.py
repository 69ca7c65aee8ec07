"""A few small files in the layout of each set."""

import pickle

import numpy as np
from PIL import Image
from scipy.io import savemat

from torchdau.training.data.masks import colour_map


def save_image(path, width=40, height=30, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def save_mask(path, numbers, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(np.asarray(numbers, np.uint8))
    if palette:
        mask.putpalette([value for colour in colour_map(256) for value in colour])
    mask.save(path)


def numbers_of(classes, width=40, height=30, seed=0):
    return np.random.default_rng(seed).integers(0, classes, (height, width), np.uint8)


def make_pairs(root, count=3, classes=11):
    for part in ("train", "val"):
        for index in range(count):
            save_image(root / part / "images" / f"{index}.jpg", seed=index)
            save_mask(root / part / "masks" / f"{index}.png", numbers_of(classes, seed=index), palette=index % 2 == 1)
    return root


def make_cityscapes(root, count=3):
    for part, city in (("train", "aachen"), ("val", "frankfurt")):
        for index in range(count):
            name = f"{city}_{index:06}_000019"
            save_image(root / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", seed=index)
            save_mask(root / "gtFine" / part / city / f"{name}_gtFine_labelIds.png", numbers_of(34, seed=index))
    return root


def make_voc(root, base="TrainVal/VOCdevkit/VOC2011"):
    """a and b are for training, b in SBD too; c is SBD's alone; d, e, f for validation, d in SBD's training set too."""
    voc, sbd = root / base, root / "benchmark_RELEASE/dataset"
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    for seed, name in enumerate("abdef"):
        save_image(voc / f"JPEGImages/{name}.jpg", seed=seed)
        save_mask(voc / f"SegmentationClass/{name}.png", numbers_of(21, seed=seed), palette=True)
    (voc / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (voc / "ImageSets/Segmentation/val.txt").write_text("d\ne\nf\n")
    (sbd / "cls").mkdir(parents=True)
    for seed, name in enumerate("bcd"):
        save_image(sbd / f"img/{name}.jpg", seed=seed)
        inner = np.zeros(1, [("Segmentation", object)])
        inner["Segmentation"][0] = numbers_of(21, seed=50 + seed)
        savemat(sbd / f"cls/{name}.mat", {"GTcls": inner})
    (sbd / "train.txt").write_text("b\nc\nd\n")
    return root


def make_folder(root, sets=("train", "test"), classes=("cat", "dog"), count=4, size=32):
    """Small images in the layout of the image-folder form of CIFAR-10."""
    generator = np.random.default_rng(0)
    for folder in sets:
        for label, name in enumerate(classes):
            (root / folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 128, (size, size, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / folder / name / f"{number:04}.png")
    return root


def make_cifar10(root):
    """Two images per file in the original layout (the checksums are those of the real files, so loading refuses it)."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name in ["data_batch_1", "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}))
    return root


def make_gopro(root, count=2, size=40):
    for part in ("train", "test"):
        for index in range(count):
            for seed, kind in enumerate(("blur", "blur_gamma", "sharp")):
                save_image(root / part / f"scene{index}" / kind / "000001.png", size + 5, size, seed=10 * index + seed)
    return root
