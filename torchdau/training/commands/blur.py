"""The command ``torchdau blur``: pairs to train deblurring on, from any sharp photographs."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from torchdau.training.commands.options import run
from torchdau.training.data.pictures import pictures_in, read_picture

GAMMA = 2.2
"""Exponent from the intensities of a picture to light, GOPRO's."""


def main(args: Sequence[str]) -> None:
    """Runs the command with the options of :func:`blur`."""
    run(blur, "blur", args, photographs={"type": Path, "help": "folder with sharp photographs"})


def blur(
    photographs: Path,
    output: Path,
    kernels: int = 4,
    largest: int = 31,
    test_share: float = 0.1,
    seed: int = 0,
) -> None:
    """Makes pairs of blurred and sharp images in the layout of GOPRO, as by a camera that shakes.

    Each photograph is blurred by several kernels, in linear light, and becomes one sequence. The border that a kernel
    does not cover is cut off. Every tenth photograph or so is for the test set.

    Args:
        photographs: folder with sharp photographs of any format.
        output: folder for train and test; it must not be there yet.
        kernels: how many blurred versions of each photograph.
        largest: largest side of a kernel in pixels, an odd number.
        test_share: share of the photographs that become the test set.
        seed: of the kernels, and of which photographs are for testing.
    """
    if largest < 3 or largest % 2 == 0 or kernels < 1 or not 0 <= test_share < 1:
        raise ValueError(
            f"largest must be odd and at least 3, kernels at least 1, test_share in [0, 1), got largest={largest}, "
            f"kernels={kernels} and test_share={test_share}."
        )
    if output.exists():
        raise FileExistsError(f"output must be a new folder, got {str(output)!r}, which is there.")
    files = pictures_in(photographs)
    generator = torch.Generator().manual_seed(seed)
    tests = set(torch.randperm(len(files), generator=generator)[: round(test_share * len(files))].tolist())
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as part:
        for index, file in enumerate(track(files, "blurring", disable=not Console().is_terminal)):
            folder = Path(part) / "pairs" / ("test" if index in tests else "train") / f"{index:06}"
            sharp = F.pil_to_tensor(read_picture(file))
            if min(sharp.shape[-2:]) <= largest:
                raise ValueError(f"largest must be smaller than photographs, got largest={largest} for {str(file)!r}.")
            margin = largest // 2
            for number in range(1, kernels + 1):
                blurred = blurred_by(sharp, shake(largest, generator))
                for kind, image in (("blur", blurred), ("sharp", sharp[:, margin:-margin, margin:-margin])):
                    (folder / kind).mkdir(parents=True, exist_ok=True)
                    F.to_pil_image(image).save(folder / kind / f"{number:06}.png")
        os.replace(Path(part) / "pairs", output)
    counts = kernels * len(files), kernels * len(tests)
    Console().print(f"written: {counts[0]} pairs in {output}, {counts[1]} of them for testing", soft_wrap=True)


def blurred_by(sharp: Tensor, kernel: Tensor) -> Tensor:
    """An image (3, H, W), 8 bits, blurred in linear light by a kernel (k, k): (3, H - k + 1, W - k + 1)."""
    light = (sharp.float() / 255).pow(GAMMA)[:, None]
    light = torch.nn.functional.conv2d(light, kernel.flip(0, 1)[None, None])[:, 0]
    return light.clamp(0, 1).pow(1 / GAMMA).mul(255).round().to(torch.uint8)


def shake(largest: int, generator: torch.Generator) -> Tensor:
    """The light that a point leaves while a camera shakes: a kernel (largest, largest) with sum 1, centred on its mean.

    A point moves with inertia, pushed at random and pulled back, as in Boracchi and Foi, Modeling the Performance of
    Image Restoration from Motion Blur, IEEE TIP 2012, in a simple form.
    """
    steps = 256
    pushes = torch.randn(steps, 2, generator=generator, dtype=torch.float64)
    strength = 0.3 + 0.7 * torch.rand(1, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * torch.rand(1, generator=generator, dtype=torch.float64)
    velocity = torch.cat([angle.cos(), angle.sin()])
    place = torch.zeros(2, dtype=torch.float64)
    places = torch.empty(steps, 2, dtype=torch.float64)
    for index in range(steps):
        velocity = 0.98 * velocity + 0.2 * pushes[index] - 0.002 * place
        place = place + velocity
        places[index] = place
    places = places - places.mean(0)
    places = places * (strength * (largest // 2 - 1) / places.abs().max()) + largest // 2
    kernel = torch.zeros(largest, largest, dtype=torch.float64)
    corner = places.floor().long()
    share = places - corner
    for y in (0, 1):
        for x in (0, 1):
            weight = (share[:, 0] if y else 1 - share[:, 0]) * (share[:, 1] if x else 1 - share[:, 1])
            kernel.index_put_((corner[:, 0] + y, corner[:, 1] + x), weight, accumulate=True)
    return (kernel / kernel.sum()).float()
