"""Time and memory of DeepLab for a whole image of Cityscapes.

    uv run python benchmarks/scenes.py [--size 1024 2048] [--tiles 0 512] [--repeats 3]

Measures ResNet-101 with image pooling, pyramid and decoder, plain and with units, with random weights. Each row is a
separate process: the median time of several predictions, and its peak memory above the memory before the first. A tile
of 0 is the whole image at once.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from torchdau import models
from torchdau.training import Segmentation

NETWORKS: dict[str, Callable[..., nn.Module]] = {"DeepLab": models.deeplab, "DAU-DeepLab": models.dau_deeplab}


def measure(network: str, tile: int, size: Sequence[int], repeats: int) -> tuple[float, float]:
    """Return the median seconds and the peak memory in MB of predictions."""
    torch.set_num_threads(2)
    task = Segmentation(NETWORKS[network](pyramid=True, image_pool=True, decoder=True), tile=tile or None).eval()
    image = torch.randn(1, 3, *size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.perf_counter()
            task.predict_step((image, image), 0)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=[1024, 2048])
    parser.add_argument("--tiles", type=int, nargs="+", default=[0, 512])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    table = Table("network", "tile", "seconds", "MB", title=f"{options.size[1]} x {options.size[0]} pixels", box=None)
    rows = [(network, tile) for tile in options.tiles for network in NETWORKS]
    for network, tile in track(rows, "predicting", transient=True):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(measure, (network, tile, options.size, options.repeats))
        table.add_row(network, str(tile), f"{seconds:.1f}", f"{memory:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
