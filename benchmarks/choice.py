"""The algorithm that "auto" chooses, compared with the fastest.

    uv run python benchmarks/choice.py [--training] [--dtype TYPE] [--csv FILE] [--repeats N] [--shape SHAPE ...]

Measures forward passes, or training steps, of all algorithms on a grid of shapes: interleaved, medians. A training step
may also be direct forward and spectral backward ("direct-spectral"). Prints the time of the chosen algorithm
relative to the fastest, and to a 3 x 3 convolution of the same stride S. The convolution runs in NCHW and in
channels_last, and the faster counts. The dense algorithm is left out if it needs 10^11 multiply-adds or more.
"""

import argparse
import csv
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

from torchdau import dau_conv2d
from torchdau.algorithms import ALGORITHMS, choose, direct
from torchdau.algorithms.layer import Layer
from torchdau.profile import Profile

NAMES = ("spectral", "direct", "direct-spectral", "dense")
SIGMA = 0.5
GRID = [  # N, I, O, H, K, R, and the stride if it is not 1
    *((n, 64, 64, 56, 2, 4) for n in (1, 4, 16, 64)),
    *((n, 128, 128, 28, 2, 4) for n in (1, 4, 16, 64)),
    *((n, 256, 256, 14, 2, 4) for n in (1, 2, 4, 16, 64)),
    *((n, 512, 512, 7, 2, 4) for n in (1, 4, 16, 64)),
    *((n, 3, 64, 112, 2, 4) for n in (1, 4, 16)),
    *((n, 16, 16, 14, 2, 4) for n in (1, 16, 64)),
    *((n, 32, 32, 28, 2, 4) for n in (1, 4, 16)),
    *((1, 64, 64, 56, k, 4) for k in (1, 4, 8)),
    *((16, 64, 64, 28, k, 4) for k in (1, 4, 8)),
    *((1, 256, 256, 14, k, 4) for k in (1, 4, 8)),
    *((1, 64, 64, 56, 2, r) for r in (8, 16, 32)),
    *((16, 64, 64, 28, 2, r) for r in (8, 16, 32)),
    *((1, 32, 32, h, 2, 4) for h in (112, 224, 360)),
    (1, 64, 64, 200, 2, 4),
    (1, 3, 16, 360, 2, 4),
    (1, 16, 3, 360, 2, 4),
    *((n, 64, 128, 32, 2, 4, 2) for n in (1, 8, 32)),
    *((n, 128, 256, 16, 2, 4, 2) for n in (1, 8, 32)),
    *((n, 256, 512, 8, 2, 4, 2) for n in (1, 8, 32)),
    *((n, 512, 512, 4, 2, 4) for n in (1, 8, 32)),
    *((n, 256, 256, 8, 2, 4) for n in (1, 8, 32)),
    (8, 4, 4, 8, 2, 4),
    *((128, i, o, h, 2, 4) for i, o, h in ((16, 16, 32), (16, 32, 16), (24, 24, 24), (32, 32, 16), (64, 64, 8))),
]


def measure(shape: tuple[int, ...], repeats: int, training: bool, dtype: torch.dtype) -> dict[str, str | float]:
    """Return one row of the table, in milliseconds."""
    n, i, o, h, k, r, s = shape
    x, kernel, weight = (torch.randn(size, dtype=dtype) for size in ((n, i, h, h), (o, i, 3, 3), (o, i, k)))
    convolved = {name: [t.to(memory_format=order) for t in (x, kernel)] for name, order in LAYOUTS.items()}
    mu = torch.rand(o, i, k, 2) * 2 * r - r
    for leaf in (x, weight, mu, *(t for tensors in convolved.values() for t in tensors)):
        leaf.requires_grad_(training)
    profile = Profile("bilinear", "smooth", float(r), SIGMA)
    calls: dict[str, Callable[[], Tensor]] = {
        name: partial(dau_conv2d, x, weight, mu, SIGMA, stride=s, max_displacement=r, algorithm=name)
        for name in NAMES
        if name in ALGORITHMS and (name != "dense" or profile.size**2 * n * i * o * h * h < 1e11)
    }
    layer = Layer.of(x, weight, torch.tensor(SIGMA), (s, s), (0, 0), 1, profile)
    if training:
        mixed = partial(direct.dau_conv2d, stride=(s, s), padding=(0, 0), groups=1, profile=profile)
        calls["direct-spectral"] = partial(mixed, x, weight, mu, torch.tensor(SIGMA), None, spectral_backward=True)
    calls |= {layout: partial(F.conv2d, *tensors, stride=s, padding=1) for layout, tensors in convolved.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            output = call()
            if training:
                output.backward(output.detach())
            if number:
                seconds[name].append(time.perf_counter() - start)
    ms = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    conv2d = min(ms.pop(layout) for layout in LAYOUTS)
    auto = "-".join(dict.fromkeys(choose(layer, training)))
    row: dict[str, str | float] = {"shape": ",".join(map(str, shape)), "conv2d 3x3": conv2d}
    row |= {name: ms.get(name, float("nan")) for name in NAMES}
    return row | {"auto": auto, "auto / fastest": ms[auto] / min(ms.values()), "auto / conv2d": ms[auto] / conv2d}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", help="write the table to this file as well")
    parser.add_argument("--training", action="store_true", help="steps forward and backward")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", nargs="*", default=[",".join(map(str, s)) for s in GRID], metavar="N,I,O,H,K,R,S")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    for text in track(options.shape, "shapes", transient=True):
        shape = [int(v) for v in text.split(",")]
        rows.append(measure((*shape, 1)[:7], options.repeats, options.training, getattr(torch, options.dtype)))
    table = Table(
        *rows[0], title=f"milliseconds {'a step' if options.training else 'forward'}; shape: N, I, O, H, K, R, stride"
    )
    for row in rows:
        table.add_row(*[f"{value:.2f}" if isinstance(value, float) else value for value in row.values()])
    console = Console(width=120)
    console.print(table)
    within = sum(float(row["auto / fastest"]) <= 1.15 for row in rows)
    console.print(f"{within} of {len(rows)} within 15 % of the fastest")
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
