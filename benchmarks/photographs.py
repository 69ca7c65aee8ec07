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
from torch import Tensor
from torch.nn.functional import conv2d
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import InterpolationMode, affine, gaussian_blur, pad, resize

from torchdau.training.data.pictures import picture_of, pixels_of, read_picture
from torchdau.training.shake import GAMMA, blurred_by, shake

TRAIN = [
    "imgaug/quokka.jpg",
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    *(f"skimage/data/{name}" for name in ("astronaut.png", "camera.png", "coins.png", "motorcycle_left.png")),
    *(f"skimage/data/{name}" for name in ("retina.jpg", "rocket.jpg")),
    "sklearn/datasets/images/china.jpg",
    "scipy/misc/face.dat",
]
TEST = ["skimage/data/chelsea.png", "skimage/data/coffee.png", "sklearn/datasets/images/flower.jpg"]

SIDE, MARGIN = 128, 20
"""Side of a training piece, and width of the border that is cut off after the blur, in pixels."""

KERNELS = range(5, 19, 2)
"""Sides of the kernels in pixels."""

FRAMES = 16
"""Moments of an exposure that are averaged."""


def photograph(file: Path) -> Tensor:
    """Return a photograph (3, H, W), 8 bits; scipy packs the pixels of its own."""
    if file.suffix != ".dat":
        return pixels_of(read_picture(file)).expand(3, -1, -1)
    pixels = np.frombuffer(bz2.decompress(file.read_bytes()), np.uint8).reshape(768, 1024, 3)
    return torch.tensor(pixels).permute(2, 0, 1)


def uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))


def piece(photograph: Tensor, side: int) -> Tensor:
    """Cut a random square from a photograph: reduced or enlarged, turned, mirrored, and with exchanged colours."""
    least = side / min(photograph.shape[-2:])
    scale = max(least, uniform(0.5, 1.25))
    height, width = (max(side, round(scale * size)) for size in photograph.shape[-2:])
    cut = v2.RandomCrop(side)(v2.functional.resize(photograph, [height, width], antialias=True))
    cut = cut.rot90(int(torch.randint(4, ())), (1, 2))
    return v2.RandomHorizontalFlip()(cut)[torch.randperm(3)]


def blob(side: int, share: float) -> Tensor:
    """Return a mask (1, side, side) of random shape that is 1 in about ``share`` of it, and 0 elsewhere."""
    shape = gaussian_blur(resize(torch.rand(1, 5, 5), [side, side], antialias=True), [3, 3])
    return ((shape - shape.quantile(1 - share)) * 40).clamp(0, 1)


def defocused(picture: Tensor) -> Tensor:
    """Put a part of a picture (3, H, H), 8 bits, out of focus, as lenses do: no shake, so a network must leave it."""
    radius = uniform(1.5, 6)
    places = torch.arange(-6.0, 7)
    disk = (radius + 0.5 - torch.hypot(places[:, None], places)).clamp(0, 1)
    light = pad((picture.float() / 255).pow(GAMMA), [6], padding_mode="reflect")[:, None]
    soft = conv2d(light, (disk / disk.sum())[None, None])[:, 0].clamp(0, 1).pow(1 / GAMMA) * 255
    mask = blob(picture.shape[-1], uniform(0.2, 0.8))
    return (mask * soft + (1 - mask) * picture).round().to(torch.uint8)


def moved(image: Tensor) -> Tensor:
    """Return an image (C, H, W) at each moment of an exposure, (FRAMES, C, H, W): it moves, turns and comes nearer.

    It is in its place in the mean over the exposure.
    """
    time = torch.linspace(-0.5, 0.5, FRAMES)
    length, angle = uniform(0, 20), uniform(0, 2 * torch.pi)
    velocity = length * torch.tensor([np.cos(angle), np.sin(angle)])
    bend = uniform(0, 0.5) * length * torch.randn(2)
    places = time[:, None] * velocity + (time.square() - time.square().mean())[:, None] * bend
    turn, zoom = uniform(-2, 2), uniform(-0.03, 0.03)
    return torch.stack(
        [
            affine(
                image,
                angle=float(turn * t),
                translate=place.tolist(),
                scale=float(1 + zoom * t),
                shear=[0.0, 0.0],
                interpolation=InterpolationMode.BILINEAR,
            )
            for t, place in zip(time, places, strict=True)
        ]
    )


def filmed(scene: Tensor, thing: Tensor) -> tuple[Tensor, Tensor]:
    """Return a scene (3, H, W), 8 bits, that a moving camera exposed, and the sharp scene, as GOPRO averages videos.

    In every second scene a part of another picture moves on its own. Half of the averages are of light, half of the
    video's intensities.
    """
    side = scene.shape[-1]
    mask = blob(side, uniform(0.1, 0.4)) * float(torch.rand(()) < 0.5)
    background, parts = scene.float() / 255, torch.cat([thing.float() / 255 * mask, mask])
    frames, over = moved(background), moved(parts)
    frames = frames * (1 - over[:, 3:]) + over[:, :3]
    sharp = background * (1 - mask) + parts[:3]
    gamma = GAMMA if torch.rand(()) < 0.5 else 1.0
    blurred = frames.pow(gamma).mean(0).pow(1 / gamma)
    inner = slice(MARGIN, -MARGIN)
    blurred, sharp = (x[:, inner, inner].mul(255).round().clamp(0, 255).to(torch.uint8) for x in (blurred, sharp))
    return blurred, sharp


def shaken(sharp: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return an image that a random kernel blurred, and the sharp one, without the border that no kernel covers."""
    largest = KERNELS[int(torch.randint(len(KERNELS), ()))]
    margin = largest // 2
    return blurred_by(sharp, shake(largest, generator)), sharp[:, margin:-margin, margin:-margin]


def save(folder: Path, number: int, blurred: Tensor, sharp: Tensor) -> None:
    for kind, image in (("blur", blurred), ("sharp", sharp)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture_of(image.contiguous()).save(folder / kind / f"{number:06}.png")


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="folder of the packages")
    parser.add_argument("output", type=Path, help="new folder for the pairs")
    parser.add_argument("--pieces", type=int, default=4000, help="number of training pieces")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    for number, file in enumerate(TEST * 3):  # first, so that they stay the same
        save(arguments.output / "test/photographs", number, *shaken(photograph(arguments.packages / file), generator))
    train = [photograph(arguments.packages / file) for file in TRAIN]
    for number in track(range(arguments.pieces), "training pieces"):
        scene = piece(train[number % len(train)], SIDE + 2 * MARGIN)
        if torch.rand(()) < 0.3:
            scene = defocused(scene)
        if number % 2:
            pair = filmed(scene, piece(train[int(torch.randint(len(train), ()))], SIDE + 2 * MARGIN))
        else:
            pair = shaken(scene, generator)
        save(arguments.output / "train/pieces", number, *pair)


if __name__ == "__main__":
    main()
