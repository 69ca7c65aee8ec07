"""Blurred and sharp pieces of photographs that may be passed on, to train the network that ``torchdau deblur`` uses.

    uv pip install --no-deps --target PACKAGES imgaug==0.4.0 matplotlib scikit-image scikit-learn scipy==1.9.3
    uv run python benchmarks/photographs.py PACKAGES PAIRS
    TORCHDAU_DATA=PAIRS uv run torchdau fit --config recipes/photographs_dau_srn.yaml

The photographs lie in these packages. Those of the test set stay whole and are in no training piece.
"""

import argparse
import bz2
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torchvision.transforms import v2

from torchdau.training.data.pictures import picture_of, pixels_of, read_picture
from torchdau.training.shake import blurred_by, shake

TRAIN = [
    "imgaug/quokka.jpg",
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    *(f"skimage/data/{name}" for name in ("astronaut.png", "camera.png", "coins.png", "motorcycle_left.png")),
    *(f"skimage/data/{name}" for name in ("retina.jpg", "rocket.jpg")),
    "sklearn/datasets/images/china.jpg",
    "scipy/misc/face.dat",
]
TEST = ["skimage/data/chelsea.png", "skimage/data/coffee.png", "sklearn/datasets/images/flower.jpg"]

SIDE = 96
"""Least side of a training piece in pixels."""

KERNELS = range(5, 19, 2)
"""Sides of the kernels in pixels."""


def photograph(file: Path) -> torch.Tensor:
    """Return a photograph (3, H, W), 8 bits; scipy packs the pixels of its own."""
    if file.suffix != ".dat":
        return pixels_of(read_picture(file)).expand(3, -1, -1)
    pixels = np.frombuffer(bz2.decompress(file.read_bytes()), np.uint8).reshape(768, 1024, 3)
    return torch.tensor(pixels).permute(2, 0, 1)


def piece(photograph: torch.Tensor, side: int) -> torch.Tensor:
    """Cut a random square from a photograph: reduced or enlarged, turned, mirrored, and with exchanged colours."""
    least = side / min(photograph.shape[-2:])
    scale = max(least, float(torch.empty(()).uniform_(0.5, 1.25)))
    height, width = (max(side, round(scale * size)) for size in photograph.shape[-2:])
    cut = v2.RandomCrop(side)(v2.functional.resize(photograph, [height, width], antialias=True))
    cut = cut.rot90(int(torch.randint(4, ())), (1, 2))
    return v2.RandomHorizontalFlip()(cut)[torch.randperm(3)]


def save(folder: Path, number: int, sharp: torch.Tensor, generator: torch.Generator) -> None:
    """Blur an image by a random kernel, and write both without the border that the kernel does not cover."""
    largest = KERNELS[int(torch.randint(len(KERNELS), ()))]
    margin = largest // 2
    blurred, sharp = blurred_by(sharp, shake(largest, generator)), sharp[:, margin:-margin, margin:-margin]
    for kind, image in (("blur", blurred), ("sharp", sharp)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture_of(image.contiguous()).save(folder / kind / f"{number:06}.png")


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="folder of the packages")
    parser.add_argument("output", type=Path, help="new folder for the pairs")
    parser.add_argument("--pieces", type=int, default=6000, help="number of training pieces")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train = [photograph(arguments.packages / file) for file in TRAIN]
    for number in track(range(arguments.pieces), "training pieces"):
        sharp = piece(train[number % len(train)], SIDE + max(KERNELS))
        save(arguments.output / "train/pieces", number, sharp, generator)
    for number, file in enumerate(TEST * 3):
        sharp = photograph(arguments.packages / file)
        save(arguments.output / "test/photographs", number, sharp, generator)


if __name__ == "__main__":
    main()
