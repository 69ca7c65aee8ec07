"""The command ``torchdau deblur``: sharp pictures from blurred ones, by a trained network."""

from collections.abc import Sequence
from pathlib import Path

from torchdau_cli.devices import chosen_device
from torchdau_cli.files import check_checkpoint, packaged
from torchdau_cli.options import run

WEIGHTS = "photographs_dau_srn.safetensors"
"""The network for photographs that comes with torchdau."""


def main(args: Sequence[str]) -> None:
    """Run the command with the options of :func:`deblur`."""
    what = "pictures, or folders with pictures; a file X.ckpt that torchdau fit wrote may come before them"
    run(deblur, args, paths={"nargs": "+", "type": Path, "help": what})


def deblur(
    paths: list[Path],
    output: Path,
    tile: int = 512,
    overlap: int = 128,
    compare: bool = False,
    overwrite: bool = False,
    device: str | None = None,
) -> None:
    """Deblur pictures of any size and format by torchdau's network for photographs, or by one of your own.

    Write NAME.png for each picture, upright, with its transparency and its colour profile. Grey pictures stay grey.
    16 bits stay 16 bits, in colours if OpenCV is installed. Animations are refused.

    Args:
        paths: pictures, or folders with pictures. If the first is a file X.ckpt that torchdau fit wrote, its network
            is used.
        output: folder for the results.
        tile: side of the tiles in pixels. Large pictures are processed in tiles to bound memory.
        overlap: pixels that neighbouring tiles share.
        compare: also write NAME_compare.png, the picture and the result side by side.
        overwrite: replace results that exist.
        device: cpu, cuda, mps, ... Default: the accelerator of this machine, else its CPU.
    """
    checkpoint = paths[0] if paths[0].suffix == ".ckpt" else None
    if checkpoint:
        check_checkpoint(checkpoint)
        paths = paths[1:]
    if not paths:
        raise ValueError(f"paths must name pictures or folders, got only the checkpoint {str(checkpoint)!r}.")

    import torch
    from rich.console import Console
    from rich.progress import track

    from torchdau import load_model
    from torchdau.training.data.deep_colours import has_opencv
    from torchdau.training.data.faults import name_failures
    from torchdau.training.data.files import NO_DATA, distinct_names, pictures_in
    from torchdau.training.data.photograph import read_photograph
    from torchdau.training.restoring import restore_network, task_name
    from torchdau.training.sharp import deblurred

    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"paths must name pictures or folders, got {missing[0]!r}, which is not there.")
    named = [path for path in paths if path.name.lower() not in NO_DATA]  # the shell's * names them too
    found = (file for path in named for file in (pictures_in(path) if path.is_dir() else [path]))
    files = list(dict.fromkeys(str(file) for file in found))
    if not files:
        raise FileNotFoundError(f"paths must name pictures or folders, got {str(paths[0])!r}, which is none.")
    targets = [output / f"{name}.png" for name in distinct_names(files)]
    if {target.resolve() for target in targets} & {Path(file).resolve() for file in files}:
        raise ValueError(f"output must be another folder than that of the pictures, got {str(output)!r}.")
    compared = [target.with_name(f"{target.stem}_compare.png") for target in targets] if compare else []
    if both := {*targets} & {*compared}:
        raise ValueError(f"compare would write {str(min(both))!r}, the result of another picture. Give other names.")
    there = [str(target) for target in (*targets, *compared) if target.exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"output must not hold results yet, got {len(there)} of them, such as {there[0]!r}. Name another folder, "
            "or give --overwrite true."
        )
    if checkpoint and (task := task_name(checkpoint)) != "Deblurring":
        raise ValueError(f"checkpoint must be of a deblurring network, got {str(checkpoint)!r} of {task}.")
    where = chosen_device(device)
    network = restore_network(checkpoint) if checkpoint else load_model(packaged("weights") / WEIGHTS).float().eval()
    network = network.to(where)
    Console().print(f"device: {where}\nnetwork: {checkpoint or WEIGHTS}", soft_wrap=True)
    output.mkdir(parents=True, exist_ok=True)
    failed, lost, written = [], 0, 0
    work = list(zip(files, targets, strict=True))
    try:
        for file, target in track(work, "deblurring", disable=not Console().is_terminal):
            try:
                photograph = read_photograph(file)
            except ValueError as error:
                failed.append(str(error))
                continue
            with torch.inference_mode():
                sharp = deblurred(network, photograph.pixels[None].to(where), tile, overlap)[0].cpu()
            lost += photograph.lost
            photograph.save(sharp, target)
            if compare:
                photograph.save_comparison(sharp, target.with_name(f"{target.stem}_compare.png"))
            written += 1
    finally:  # also of those before an error
        Console().print(f"written: {written} pictures in {output}", soft_wrap=True)
    if lost:
        remedy = "" if has_opencv() else "; pip install opencv-python-headless to keep them all"
        Console().print(f"of {lost} pictures with more than 8 bits per colour, 8 were read{remedy}", soft_wrap=True)
    if failed:
        raise ValueError(name_failures(failed, written))
