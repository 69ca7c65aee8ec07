"""The kernel that "direct" chooses for layers of few channels in a group, compared with the fastest.

    uv run python benchmarks/kernels.py [--repeats N] [--shape SHAPE ...]

Measures all kernels for units that share a Gaussian, in NCHW and in channels_last: a forward pass, and a backward pass
with all gradients. Prints milliseconds, medians, interleaved, and the time of the chosen kernel relative to the
fastest.
"""

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from unittest import mock

import torch
from networks import LAYOUTS
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from torchdau import DAUConv2d
from torchdau.algorithms.direct import native
from torchdau.algorithms.direct.choice import Shape, backward_kernel, forward_kernel

GRID = [  # N, groups, I and O of a group, H, K, R, and the stride if it is not 1
    *((n, 384, 1, 1, 14, 2, 4) for n in (1, 8, 32)),
    *((n, 64, 1, 1, 64, 2, r) for n, r in ((1, 4), (8, 2), (8, 8))),
    *((8, groups, 1, 1, h, 2, 4) for groups, h in ((960, 4), (768, 7), (672, 8), (96, 56))),
    *((8, groups, 1, 1, h, 6, 8) for groups, h in ((768, 7), (384, 14))),
    *((8, groups, 1, 1, h, 2, 4, 2) for groups, h in ((64, 64), (240, 16), (672, 14))),
    (8, 32, 1, 2, 32, 2, 4),
    *((8, 64 // i, i, i, 32, 2, 4) for i in (2, 4, 8)),
    *((n, 16, 16, 16, 16, 2, 4) for n in (1, 8)),
    *((8, 256 // i, i, i, 7, 2, 4) for i in (4, 16)),
    *((n, 1, 3, 32, 64, 2, 4, 2) for n in (1, 8)),
    *((n, 1, 16, 16, 32, 2, 4) for n in (1, 64)),
]
KERNELS = ("narrow", "lanes", "blurred")


def step(layer: DAUConv2d, images: Tensor, kernel: str) -> tuple[float, float]:
    """Return the seconds of a forward and of a backward pass by a kernel; blurred images have no gradients."""
    back = "narrow" if kernel == "blurred" else kernel
    with (
        mock.patch.object(native, "forward_kernel", return_value=kernel),
        mock.patch.object(native, "backward_kernel", return_value=back),
    ):
        native._task.cache_clear()
        layer(images).sum().backward()  # prepares what depends on shapes
        start = time.perf_counter()
        output = layer(images)
        middle = time.perf_counter()
        gradient = torch.ones_like(output)
        end = time.perf_counter()
        output.backward(gradient)
        return middle - start, time.perf_counter() - end


def measure(shape: tuple[int, ...], layout: str, repeats: int) -> list[list[str]]:
    """Return two rows of the table, of a layer's forward and backward pass."""
    n, groups, i, o, h, units, reach, stride = shape
    layer = DAUConv2d(groups * i, groups * o, num_units=units, max_displacement=reach, stride=stride, groups=groups)
    layer.algorithm = "direct"
    images = torch.randn(n, groups * i, h, h).to(memory_format=LAYOUTS[layout]).requires_grad_()
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _, kernel in itertools.product(range(repeats), KERNELS):
        forward, backward = step(layer, images, kernel)
        seconds["forward", kernel].append(forward)
        if kernel != "blurred":
            seconds["backward", kernel].append(backward)
    size, strides = (-(-h // stride),) * 2, (stride,) * 2
    told = Shape(n, groups, i, o, units, size, strides, layer.profile.size, channels_last=layout == "channels_last")
    chosen = {"forward": forward_kernel(told), "backward": backward_kernel(told)}
    ms = {key: 1e3 * statistics.median(times) for key, times in seconds.items()}
    rows = []
    for name, best in chosen.items():
        assert best is not None
        times = [ms.get((name, k), float("inf")) for k in KERNELS]
        ratio = ms[name, best] / min(times)
        rows.append([",".join(map(str, shape)), layout, name, *(f"{t:.2f}" for t in times), best, f"{ratio:.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", nargs="*", default=[",".join(map(str, s)) for s in GRID], metavar="N,G,I,O,H,K,R,S")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shapes = [(*map(int, text.split(",")), 1)[:8] for text in options.shape]
    cases = list(itertools.product(shapes, LAYOUTS))
    rows = [row for case in track(cases, "layers", transient=True) for row in measure(*case, options.repeats)]
    table = Table("N, groups, I, O, H, K, R, stride", "layout", "pass", *KERNELS, "chosen", "chosen / fastest")
    for row in rows:
        table.add_row(*row)
    console = Console(width=120)
    console.print(table)
    console.print(f"{sum(float(row[-1]) <= 1.15 for row in rows)} of {len(rows)} within 15 % of the fastest")


if __name__ == "__main__":
    main()
