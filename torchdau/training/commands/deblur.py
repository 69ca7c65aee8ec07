"""The command ``torchdau deblur``: sharp pictures from blurred ones, by a trained network."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torchvision.transforms.v2 import functional as F

from torchdau.training.commands.options import run
from torchdau.training.data.pictures import distinct_names, pictures_in, read_picture, transparency
from torchdau.training.deblurring import Deblurring, deblurred
from torchdau.training.restoring import restore_task


def main(args: Sequence[str]) -> None:
    """Runs the command with the options of :func:`deblur`."""
    run(deblur, "deblur", args, paths={"nargs": "+", "type": Path, "help": "pictures, or folders with pictures"})


def deblur(
    paths: list[Path],
    checkpoint: Path,
    output: Path,
    tile: int = 512,
    overlap: int = 128,
    compare: bool = False,
    overwrite: bool = False,
    device: str | None = None,
) -> None:
    """Deblurs pictures of any size and format.

    Writes NAME.png for each picture, turned as people see it, with its transparency and its colour profile.

    Args:
        paths: pictures, or folders with pictures.
        checkpoint: a file that torchdau fit wrote for a deblurring network.
        output: folder for the results.
        tile: side in pixels of the tiles in which pictures are seen, so that memory is bounded.
        overlap: pixels that neighbouring tiles share.
        compare: whether to write NAME_compare.png too, the picture and the result side by side.
        overwrite: whether to replace results that are there.
        device: where to compute: cpu, cuda, mps. By default the accelerator of this machine, or its CPU.
    """
    files = [str(file) for path in paths for file in (pictures_in(path) if path.is_dir() else [path])]
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        raise FileNotFoundError(f"paths must name pictures or folders, got {missing[0]!r}, which is not there.")
    targets = [output / f"{name}.png" for name in distinct_names(files)]
    there = [str(target) for target in targets if target.exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"output must not hold results yet, got {len(there)} of them, such as {there[0]!r}. Name another folder, "
            "or give --overwrite true."
        )
    task = restore_task(checkpoint)
    if not isinstance(task, Deblurring):
        raise ValueError(
            f"checkpoint must be of a deblurring network, got {str(checkpoint)!r} of {type(task).__name__}."
        )
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    where = torch.device(device) if device else accelerator or torch.device("cpu")
    network = task.network.to(where)
    output.mkdir(parents=True, exist_ok=True)
    for file, target in track(list(zip(files, targets, strict=True)), "deblurring", disable=not Console().is_terminal):
        picture = read_picture(file)
        with torch.inference_mode():
            pixels = F.to_dtype(F.pil_to_tensor(picture)[None], torch.float32, scale=True)
            result = F.to_pil_image(deblurred(network, pixels.to(where), tile, overlap)[0].cpu())
        alpha = transparency(file)
        if alpha is not None:
            result.putalpha(alpha)
        target.parent.mkdir(parents=True, exist_ok=True)
        save(result, target, picture.info.get("icc_profile"))
        if compare:
            both = Image.new("RGB", (2 * picture.width, picture.height))
            both.paste(picture, (0, 0))
            both.paste(result.convert("RGB"), (picture.width, 0))
            save(both, target.with_name(f"{target.stem}_compare.png"), picture.info.get("icc_profile"))
    Console().print(f"written: {len(files)} pictures in {output}", soft_wrap=True)


def save(picture: Image.Image, path: Path, profile: bytes | None) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        picture.save(part, "PNG", icc_profile=profile)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
