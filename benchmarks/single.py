"""Speed of a unit layer on one image in evaluation mode, beside the 3 x 3 convolution.

    uv run python benchmarks/single.py [--repeats N] [--zeros SHARE] [--shape I,O,H,W,K ...]

Measures forward passes of one image, R = 4, sigma 0.5, with bias, by the algorithm that "auto" chooses: medians,
interleaved in one run. The convolution runs in NCHW and in channels_last, and the faster counts. ``--zeros`` sets this
share of the weights to 0, as in a pruned layer.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from networks import LAYOUTS
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from torchdau import DAUConv2d
from torchdau.algorithms import choose
from torchdau.algorithms.layer import Layer
from torchdau.profile import Profile

SHAPES = [(256, 256, 14, 14, 2), (64, 64, 56, 56, 2), (64, 64, 360, 640, 2)]
SIGMA, BOUND = 0.5, 4.0


@torch.inference_mode()
def measure(shape: tuple[int, int, int, int, int], repeats: int, zeros: float) -> list[str]:
    """Return one row of the table."""
    i, o, h, w, k = shape
    x, kernel, bias = torch.randn(1, i, h, w), torch.randn(o, i, 3, 3), torch.zeros(o)
    layer = DAUConv2d(i, o, num_units=k, max_displacement=BOUND, sigma=SIGMA).eval()
    layer.displacement.uniform_(-BOUND, BOUND)
    layer.weight[torch.rand_like(layer.weight) < zeros] = 0
    calls: dict[str, Callable[[], Tensor]] = {"units": partial(layer, x)}
    for name, order in LAYOUTS.items():
        calls[name] = partial(F.conv2d, x.to(memory_format=order), kernel.to(memory_format=order), bias, padding=1)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= 3:
                seconds[name].append(time.perf_counter() - start)
    ms = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    units, conv2d = ms.pop("units"), min(ms.values())
    profile = Profile("bilinear", "smooth", BOUND, SIGMA)
    chosen, _ = choose(Layer.of(x, layer.weight, torch.tensor(SIGMA), (1, 1), (0, 0), 1, profile))
    return [",".join(map(str, shape)), chosen, f"{units:.2f}", f"{conv2d:.2f}", f"{units / conv2d:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=51)
    parser.add_argument("--zeros", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", nargs="*", default=[",".join(map(str, s)) for s in SHAPES], metavar="I,O,H,W,K")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    table = Table("I, O, H, W, K", "algorithm", "units ms", "conv2d 3x3 ms", "units / conv2d")
    for text in track(options.shape, "shapes", transient=True):
        i, o, h, w, k = (int(v) for v in text.split(","))
        table.add_row(*measure((i, o, h, w, k), options.repeats, options.zeros))
    Console().print(table)


if __name__ == "__main__":
    main()
