"""Blurred and sharp pieces of photographs that may be passed on, to train the network that ``torchdau deblur`` uses.

    uv run --with scikit-image --with scikit-learn python benchmarks/photographs.py PAIRS
    TORCHDAU_DATA=PAIRS uv run torchdau fit --config recipes/photographs_dau_srn.yaml

The photographs lie in the wheels of scikit-image, scikit-learn and matplotlib. Those of the test set stay whole and are
in no training piece.
"""

import argparse
import importlib.util
from pathlib import Path

import torch
from rich.progress import track
from torchvision.transforms import v2

from torchdau.training.data.pictures import picture_of, pixels_of, read_picture
from torchdau.training.shake import blurred_by, shake

FOLDERS = {"skimage": "data", "sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}
TRAIN = {
    "skimage": [
        "astronaut.png",
        "brick.png",
        "camera.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ],
    "sklearn": ["china.jpg"],
    "matplotlib": ["grace_hopper.jpg"],
}
TEST = {"skimage": ["chelsea.png", "coffee.png"], "sklearn": ["flower.jpg"]}

SIDE = 96
"""Least side of a training piece in pixels."""

KERNELS = range(5, 19, 2)
"""Sides of the kernels in pixels."""


def photographs(names: dict[str, list[str]]) -> list[torch.Tensor]:
    """Return photographs (3, H, W) of installed packages, 8 bits."""
    images = []
    for package, files in names.items():
        found = importlib.util.find_spec(package)
        if not found or not found.submodule_search_locations:
            raise SystemExit(f"{package} is not installed; the command at the top of this file brings it")
        folder = Path(found.submodule_search_locations[0]) / FOLDERS[package]
        images += [pixels_of(read_picture(folder / file)).expand(3, -1, -1) for file in files]
    return images


def piece(photograph: torch.Tensor, side: int) -> torch.Tensor:
    """Cut a random square from a photograph: reduced or enlarged, turned and mirrored."""
    least = side / min(photograph.shape[-2:])
    scale = max(least, float(torch.empty(()).uniform_(0.5, 1.25)))
    height, width = (max(side, round(scale * size)) for size in photograph.shape[-2:])
    cut = v2.RandomCrop(side)(v2.functional.resize(photograph, [height, width], antialias=True))
    cut = cut.rot90(int(torch.randint(4, ())), (1, 2))
    return v2.RandomHorizontalFlip()(cut)


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
    parser.add_argument("output", type=Path, help="new folder for the pairs")
    parser.add_argument("--pieces", type=int, default=6000, help="number of training pieces")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train = photographs(TRAIN)
    for number in track(range(arguments.pieces), "training pieces"):
        sharp = piece(train[number % len(train)], SIDE + max(KERNELS))
        save(arguments.output / "train/pieces", number, sharp, generator)
    for number, sharp in enumerate(photographs(TEST) * 3):
        save(arguments.output / "test/photographs", number, sharp, generator)


if __name__ == "__main__":
    main()
