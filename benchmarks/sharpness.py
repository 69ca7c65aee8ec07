"""PSNR and SSIM of deblurring networks on test pairs beside the blurred images, and a picture.

    export TORCHDAU_DATA=GOPRO_synth
    uv run python benchmarks/sharpness.py CHECKPOINT ... --images 0 4 --output docs/deblurring.png

Checkpoints are named by their networks, or by the parts in which their paths differ. In the picture, rows are parts of
images. Columns are the blurred image, the result of each network, and the sharp image.
"""

import argparse
import statistics
from pathlib import Path
from typing import cast

import matplotlib.pyplot as plt
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from torchdau.training import GOPROData
from torchdau.training.data.gopro import BlurredAndSharp
from torchdau.training.deblurring import scores
from torchdau.training.restoring import named_checkpoints, restore_network
from torchdau.training.sharp import deblurred, to_8_bits


def draw(rows: list[dict[str, Tensor]], names: list[str], size: int, output: Path) -> None:
    """Draw the middle of images: blurred, deblurred and sharp."""
    figure, grid = plt.subplots(
        len(rows),
        len(rows[0]),
        figsize=(2.2 * len(rows[0]), 2.3 * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    for axes, images, name in zip(grid, rows, names, strict=True):
        for axis, (title, image) in zip(axes, images.items(), strict=True):
            psnr = scores(image.float(), images["sharp"].float())[0]
            top, left = ((side - size) // 2 for side in image.shape[-2:])
            axis.imshow(image[:, top : top + size, left : left + size].permute(1, 2, 0).numpy())
            axis.set(xticks=[], yticks=[], title=title, xlabel=name if title == "sharp" else f"{psnr:.2f} dB")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    print(f"written: {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--images", type=int, nargs="*", default=[], help="places in the test set")
    parser.add_argument("--size", type=int, default=160, help="side in pixels of what the picture shows of an image")
    parser.add_argument("--tile", type=int, help="side in pixels of tiles; none sees whole images")
    parser.add_argument("--output", type=Path, default=Path("runs/deblurring.png"))
    options = parser.parse_args()
    torch.set_num_threads(2)
    networks = {name: restore_network(path) for name, path in named_checkpoints(options.checkpoints).items()}
    data = GOPROData()
    data.setup("test")
    pairs = cast("BlurredAndSharp", data.test)
    measured: dict[str, list[tuple[float, float]]] = {}
    rows: list[dict[str, Tensor]] = []
    for index in track(range(len(pairs)), "images", transient=True):
        blurred, sharp = pairs[index]
        images = {"blurred": blurred}
        for name, network in networks.items():
            with torch.inference_mode():
                images[name] = to_8_bits(deblurred(network, blurred[None] / 255, options.tile))[0]
        for name, image in images.items():
            psnr, ssim = scores(image.float(), sharp.float())
            measured.setdefault(name, []).append((psnr.item(), ssim.item()))
        if index in options.images:
            rows.append({**images, "sharp": sharp})
    table = Table("", "parameters", "PSNR [dB]", "SSIM", box=None)
    for name, values in measured.items():
        count = f"{sum(p.numel() for p in networks[name].parameters()):,}" if name in networks else ""
        psnr, ssim = (statistics.mean(each) for each in zip(*values, strict=True))
        table.add_row(name, count, f"{psnr:.3f}", f"{ssim:.4f}")
    Console().print(table)
    if rows:
        draw(
            rows,
            [Path(pairs.samples[index][1]).parts[-3] for index in sorted(options.images)],
            options.size,
            options.output,
        )


if __name__ == "__main__":
    main()
