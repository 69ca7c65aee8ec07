"""Speed and memory of a unit layer beside the dense form, the 3 x 3 convolution and similar layers.

    uv run python benchmarks/layer.py [--csv FILE] [--repeats N] [--shape N,I,O,H,K ...]
    TORCHDAU_KERNELS=0 uv run python benchmarks/layer.py ...        # without kernels: plain PyTorch

Prints one row per shape: medians, all forms interleaved in one run, R = 4, sigma 0.5, with bias. Images are NCHW. The
convolution also runs in channels_last, and ratios are to the faster of the two. "learned sigma" and "gaussian" are the
spectral algorithm with a sigma for each unit (up to 1) and with the Gaussian form. The dense algorithm comes in two
forms. One folds the blur into the kernel (13 x 13, as in this package). The other blurs the image first, then uses a
9 x 9 kernel (the paper's order). Ratios are to the faster of the two. Similar layers run forward only. They are
torchvision's deform_conv2d (3 x 3) and, if installed (uv pip install DCLS), a dilated convolution with learnable
spacings. The latter has as many elements as there are units (9 x 9, version v1). Peak memory is measured in a separate
process that makes two training steps. It includes the tensors, but not the memory that the process held before (Linux).
For a GPU, run benchmarks/gpu.py.
"""

import argparse
import csv
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torchvision.ops import deform_conv2d

from torchdau import dau_conv2d
from torchdau.profile import Profile

SHAPES = [
    (64, 192, 192, 32, 2),
    (64, 96, 192, 16, 4),
    (64, 64, 64, 56, 2),
    (32, 128, 128, 28, 2),
    (64, 256, 256, 14, 2),
    (64, 512, 512, 7, 2),
]
BOUND, SIGMA = 4, 0.5
Shape = tuple[int, int, int, int, int]


def blur_first(input: Tensor, weight: Tensor, displacement: Tensor, bias: Tensor) -> Tensor:
    """Compute the dense algorithm in the paper's order: blur every channel once, then use bilinear weights alone."""
    n, i, h, w = input.shape
    centred = Profile("bilinear", "smooth", 0, SIGMA)
    r, gauss = centred.radius, centred.value(input.new_zeros(()), input.new_tensor(SIGMA))
    flat = input.reshape(n * i, 1, h, w)
    flat = F.conv2d(
        F.conv2d(flat, gauss.view(1, 1, -1, 1), padding=(2 * r, 0)), gauss.view(1, 1, 1, -1), padding=(0, 2 * r)
    )
    y, x = (
        (1 - (torch.arange(-BOUND, BOUND + 1, device=mu.device).view(-1, 1, 1, 1) - mu).abs()).clamp_min(0)
        for mu in displacement.unbind(-1)
    )
    kernel = torch.einsum("oik,yoik,xoik->oiyx", weight.float(), y, x).to(input.dtype)
    return F.conv2d(flat.view(n, i, h + 2 * r, w + 2 * r), kernel, bias, padding=BOUND - r)


def forms(shape: Shape) -> dict[str, tuple[Callable[..., Tensor], list[Tensor]]]:
    """Return each form by name: a function, and the tensors to differentiate it by."""
    n, i, o, h, k = shape
    torch.manual_seed(0)
    x, weight = torch.randn(n, i, h, h), torch.randn(o, i, k)
    displacement = torch.rand(o, i, k, 2) * 2 * BOUND - BOUND
    kernel, bias = torch.randn(o, i, 3, 3), torch.zeros(o)

    def layer(algorithm: str, **options: Any) -> Callable[..., Tensor]:
        options |= {"max_displacement": BOUND, "algorithm": algorithm}
        return lambda x, w, mu, b, sigma=SIGMA: dau_conv2d(x, w, mu, sigma, b, **options)

    units = [x, weight, displacement, bias]
    sigma = torch.full_like(displacement[..., 0], SIGMA)
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, kernel)]
    return {
        "conv2d": (lambda x, k, b: F.conv2d(x, k, b, padding=1), [x, kernel, bias]),
        "conv2d channels_last": (lambda x, k, b: F.conv2d(x, k, b, padding=1), [*last, bias]),
        "spectral": (layer("spectral"), units),
        "learned sigma": (layer("spectral", max_sigma=2 * SIGMA), [*units, sigma]),
        "gaussian": (layer("spectral", interpolation="gaussian"), units),
        "dense": (layer("dense"), units),
        "blur first": (blur_first, units),
    }


def peers(shape: Shape) -> dict[str, Callable[[], Tensor]]:
    """Return forward passes of other layers that learn their reading positions, by name."""
    n, i, o, h, k = shape
    x, kernel = torch.randn(n, i, h, h), torch.randn(o, i, 3, 3)
    offset = torch.rand(n, 18, h, h) * 2 * BOUND - BOUND
    found: dict[str, Callable[[], Tensor]] = {"deform_conv2d": lambda: deform_conv2d(x, offset, kernel, padding=1)}
    if importlib.util.find_spec("DCLS"):
        from DCLS.construct.modules import Dcls2d

        size = 2 * BOUND + 1
        dcls = Dcls2d(i, o, kernel_count=k, dilated_kernel_size=size, padding=BOUND, version="v1")
        found["DCLS"] = lambda: dcls(x)
    return found


def steps(shape: Shape) -> dict[str, Callable[[], object]]:
    """Return a forward pass and a training step of each form, by the names "FORM forward" and "FORM training"."""
    made: dict[str, Callable[[], object]] = {}
    for name, (function, tensors) in forms(shape).items():
        leaves = [t.clone().requires_grad_() for t in tensors]
        upstream = torch.randn_like(function(*tensors))

        def forward(function: Callable[..., Tensor] = function, tensors: list[Tensor] = tensors) -> None:
            with torch.no_grad():
                function(*tensors)

        def training(
            function: Callable[..., Tensor] = function, leaves: list[Tensor] = leaves, upstream: Tensor = upstream
        ) -> None:
            torch.autograd.grad(function(*leaves), leaves, upstream)

        made |= {f"{name} forward": forward, f"{name} training": training}
    for name, peer in peers(shape).items():
        made[f"{name} forward"] = torch.no_grad()(peer)
    return made


def medians(shape: Shape, repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each step, all steps interleaved."""
    made = steps(shape)
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for number in track(range(repeats + 1), f"{shape}", transient=True):
        for name, step in made.items():
            start = time.perf_counter()
            step()
            if number:  # the first round is a warm-up
                seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def peak_memory(shape: Shape, name: str, threads: int) -> float:
    """Return the peak megabytes of two training steps in a separate process, including their tensors."""
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); import layer, torch\n"
        f"torch.set_num_threads({threads})\n"
        "layer.training_step((1, 8, 8, 8, 2), 'spectral')(), layer.training_step((1, 8, 8, 8, 2), 'conv2d')()\n"
        "before = layer.high_water_mark()\n"
        f"step = layer.training_step({shape}, {name!r})\n"
        "step(); step(); print(layer.high_water_mark() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def high_water_mark() -> float:
    """Return the largest megabytes of memory that this process has held (Linux)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def training_step(shape: Shape, name: str) -> Callable[[], None]:
    """Return the training step of one form, with nothing else in memory."""
    function, tensors = forms(shape)[name]
    leaves = [t.requires_grad_() for t in tensors]
    upstream = torch.randn(shape[0], shape[2], shape[3], shape[3])

    def training() -> None:
        torch.autograd.grad(function(*leaves), leaves, upstream)

    return training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", help="write the table to this file as well")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", nargs="*", metavar="N,I,O,H,K")
    options = parser.parse_args()
    options.shape = options.shape or [",".join(map(str, s)) for s in SHAPES]
    torch.set_num_threads(options.threads)
    console = Console(width=200)
    rows: list[dict[str, str | float]] = []
    for text in options.shape:
        n, i, o, h, k = (int(v) for v in text.split(","))
        rows.append(measure((n, i, o, h, k), options))
        console.print({name: round(v, 2) if isinstance(v, float) else v for name, v in rows[-1].items()})
        if options.csv:  # after every shape, so that an interrupted run loses nothing
            with open(options.csv, "w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    for kind in ("forward", "training", "peak"):
        names = [name for name in rows[0] if kind in name]
        table = Table("shape", *names, title=kind)
        for row in rows:
            table.add_row(str(row["shape"]), *[f"{row[name]:.2f}" for name in names])
        if names:
            console.print(table)


def measure(shape: Shape, options: argparse.Namespace) -> dict[str, str | float]:
    """Return the row of one shape."""
    ms = medians(shape, options.repeats)
    row: dict[str, str | float] = {"shape": ",".join(map(str, shape))}
    for kind in ("forward", "training"):
        row |= {f"{name} ms": time for name, time in ms.items() if name.endswith(kind)}
        spectral, dense = ms[f"spectral {kind}"], min(ms[f"dense {kind}"], ms[f"blur first {kind}"])
        row[f"{kind} dense / spectral"] = dense / spectral
        row[f"{kind} conv2d / spectral"] = min(ms[f"conv2d {kind}"], ms[f"conv2d channels_last {kind}"]) / spectral
        for name in ("learned sigma", "gaussian"):
            row[f"{kind} {name} / spectral"] = ms[f"{name} {kind}"] / spectral
        for name in ("deform_conv2d", "DCLS"):
            if f"{name} {kind}" in ms:
                row[f"{kind} {name} / spectral"] = ms[f"{name} {kind}"] / spectral
    return row | {f"{name} peak MB": peak_memory(shape, name, options.threads) for name in ("conv2d", "spectral")}


if __name__ == "__main__":
    main()
