"""The command ``torchdau blur``: training pairs for deblurring from sharp photographs."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from torchdau_cli.options import run


def main(args: Sequence[str]) -> None:
    """Run the command with the options of :func:`blur`."""
    run(blur, args, photographs={"type": Path, "help": "a folder with sharp photographs"})


def blur(
    photographs: Path,
    output: Path,
    kernels: int = 4,
    largest: int = 31,
    test_share: float = 0.1,
    seed: int = 0,
) -> None:
    """Make pairs of blurred and sharp images, in the layout of GOPRO, from sharp photographs.

    Random kernels imitate a camera that shakes, in linear light. Each photograph becomes a sequence of several pairs.
    The border that a kernel does not cover is cut off.

    Args:
        photographs: a folder with sharp photographs of any format.
        output: new folder for the pairs, in train and test.
        kernels: number of blurred versions of each photograph.
        largest: largest side of a kernel in pixels, an odd number.
        test_share: share of the photographs for the test set, at least one photograph; 0 makes no test set.
        seed: seed of the kernels and of the choice of test photographs.
    """
    import torch
    from rich.console import Console
    from rich.progress import track

    from torchdau.training.data.faults import name_failures
    from torchdau.training.data.pictures import Pictures, picture_of, pixels_of
    from torchdau.training.shake import blurred_by, shake

    if largest < 3 or largest % 2 == 0 or kernels < 1 or not 0 <= test_share < 1:
        raise ValueError(
            f"largest must be odd and at least 3, kernels at least 1, test_share in [0, 1), got largest={largest}, "
            f"kernels={kernels} and test_share={test_share}."
        )
    if output.exists():
        raise FileExistsError(f"output must be a new folder, got {str(output)!r}, which is there.")
    pictures = Pictures(photographs, pixels_of)
    generator = torch.Generator().manual_seed(seed)
    count = len(pictures)
    if test_share and count < 2:
        raise ValueError(f"photographs must be at least 2, one for testing, got {count}. Or give --test_share 0.")
    for_tests = min(max(1, round(test_share * count)), count - 1) if test_share else 0
    tests = set(torch.randperm(count, generator=generator)[:for_tests].tolist())
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as part:
        for index in track(range(count), "blurring", disable=not Console().is_terminal):
            folder = Path(part) / "pairs" / ("test" if index in tests else "train") / f"{index:06}"
            sharp, _ = pictures[index]
            if min(sharp.shape[-2:]) <= largest:
                name = pictures.samples[index][0]
                raise ValueError(f"largest must be smaller than photographs, got largest={largest} for {name!r}.")
            margin = largest // 2
            for number in range(1, kernels + 1):
                blurred = blurred_by(sharp, shake(largest, generator))
                for kind, image in (("blur", blurred), ("sharp", sharp[:, margin:-margin, margin:-margin])):
                    (folder / kind).mkdir(parents=True, exist_ok=True)
                    picture_of(image).save(folder / kind / f"{number:06}.png")
        os.replace(Path(part) / "pairs", output)
    counts = kernels * count, kernels * len(tests)
    Console().print(f"written: {counts[0]} pairs in {output}, {counts[1]} of them for testing", soft_wrap=True)
    if pictures.unreadable:
        raise ValueError(name_failures(pictures.unreadable, count))
