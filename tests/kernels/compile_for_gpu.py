"""Compiles every Triton kernel of some layers for GPUs that need not be there, and prints what it takes, as JSON.

uv run python tests/kernels/compile_for_gpu.py 80 90
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget

from torchdau.algorithms.direct.triton import task as direct
from torchdau.algorithms.layer import Layer
from torchdau.algorithms.spectral.task import Tensors
from torchdau.algorithms.spectral.triton import filters, products, transforms
from torchdau.algorithms.spectral.triton.task import Task
from torchdau.profile import Profile

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"

KERNELS = {
    transforms: ("_analysis", "_synthesis"),
    products: ("_product",),
    filters: ("_spectra", "_gradients"),
    direct: ("_filtered", "_unit_gradients"),
}

# I, O, H, stride
RESNET50 = [
    *((64, 64, 56, 1), (128, 128, 56, 2), (128, 128, 28, 1), (256, 256, 28, 2), (256, 256, 14, 1), (512, 512, 14, 2)),
    (512, 512, 7, 1),
]

# name, N, layers, K, type, whether TF32 is allowed, whether sigma is learned
NETWORKS = [
    ("ResNet-50 bfloat16", 128, RESNET50, 2, torch.bfloat16, True, False),
    ("ResNet-50 TF32", 128, RESNET50, 2, torch.float32, True, False),
    ("exact", 16, [(64, 64, 56, 1), (3, 96, 110, 1), (512, 512, 7, 1)], 4, torch.float32, False, True),
    ("small", 1, [(1, 1, 8, 1), (64, 64, 110, 1), (16, 16, 200, 2)], 1, torch.float16, True, False),
    ("large bfloat16", 1, [(64, 64, 110, 1), (64, 64, 200, 1)], 2, torch.bfloat16, True, False),
]


# C, H, stride
DEPTHWISE = [
    ("depthwise bfloat16", [(96, 56, 1), (384, 14, 2)], torch.bfloat16, True, 0.5),
    ("depthwise exact", [(96, 56, 2)], torch.float32, False, None),
]


class Driver:
    """A GPU that is not there."""

    def __init__(self, capability: int) -> None:
        self.get_current_target = lambda: GPUTarget("cuda", capability, 32)
        self.get_current_device = lambda: capability  # Triton keeps what it compiled by device

    def get_current_stream(self, device: int) -> int:
        return 0


class Compiled:
    """Stands for a kernel: compiles it for the arguments that it is called with, and prints each variant once."""

    def __init__(self, kernel, network):
        self.kernel, self.network, self.known = kernel, network, set()

    def __getitem__(self, grid):
        def call(*args, **options):
            start = time.perf_counter()
            made = self.kernel.warmup(*args, grid=grid, **options)
            if made.hash not in self.known:
                self.known.add(made.hash)
                constants = {name: value for name, value in options.items() if name.isupper()}
                found = {"network": self.network, "kernel": self.kernel.__name__, "target": made.metadata.target.arch}
                found |= {"seconds": round(time.perf_counter() - start, 2), "shared": made.metadata.shared}
                sys.stdout.write(f"{json.dumps(found | {'stack': stack(made)} | constants)}\n")

        return call


def stack(made) -> int:
    """Bytes of registers that did not fit."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(made.asm["cubin"])
        file.flush()
        done = subprocess.run([CUOBJDUMP, "-res-usage", file.name], check=True, capture_output=True, text=True)
    return int((done.stdout + done.stderr).split("STACK:")[1].split()[0])


def main() -> None:
    kernels = [(module, name, getattr(module, name)) for module, names in KERNELS.items() for name in names]
    for capability in sys.argv[1:]:
        triton.runtime.driver.set_active(Driver(int(capability)))
        for network, *options in NETWORKS:
            for module, name, kernel in kernels:
                setattr(module, name, Compiled(kernel, network))
            run(*options)
        for network, *options in DEPTHWISE:
            for module, name, kernel in kernels:
                setattr(module, name, Compiled(kernel, network))
            run_depthwise(*options)


def run(n, layers, k, dtype, allow_tf32, learned) -> None:
    """A forward and a backward pass of some layers, channels_last."""
    for i, o, h, stride in layers:
        x = torch.zeros(n, i, h, h, dtype=dtype).contiguous(memory_format=torch.channels_last)
        sigma = torch.ones(o, i, k) if learned else torch.tensor(0.5)
        profile = Profile("bilinear", "smooth", 4.0, 1.0 if learned else 0.5)
        weight, displacement, bias = torch.zeros(o, i, k), torch.zeros(o, i, k, 2), torch.zeros(o)
        layer = Layer.of(x, weight, sigma, (stride, stride), (0, 0), 1, profile)
        tensors, kept = Tensors(x, weight, displacement, sigma, bias), x.new_empty(0)
        task = Task(layer, allow_tf32)
        task.backward(tensors, torch.zeros_like(task.forward(tensors, kept)), [True] * 5, kept)


def run_depthwise(layers, dtype, allow_tf32, sigma) -> None:
    """A forward and a backward pass of some layers; without ``sigma``, each unit learns its own."""
    torch.backends.cudnn.allow_tf32 = allow_tf32
    for c, h, stride in layers:
        x, learned = torch.zeros(64, c, h, h, dtype=dtype), sigma is None
        weight = torch.zeros(c, 1, 2)
        units = weight, torch.zeros(c, 1, 2, 2), torch.ones_like(weight) if learned else torch.tensor(sigma)
        profile = Profile("bilinear", "exact" if learned else "smooth", 8.0, sigma or 1.0)
        task = direct.Task(Layer.of(x, weight, units[2], (stride, stride), (0, 0), c, profile))
        grad = task.forward(x, units, torch.zeros(c))
        task.backward(grad, x, units, [True, True, True, learned])


if __name__ == "__main__":
    main()
