"""Compiles every Triton kernel of some layers for GPUs that need not be there, and prints what it takes, as JSON.

uv run python tests/kernels/compile_for_gpu.py 80 90
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget

from torchdau.algorithms.spectral.call import Layer
from torchdau.algorithms.spectral.gpu import Task
from torchdau.kernels.gpu import blocks, images, products, units
from torchdau.profile import Profile

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"

KERNELS = {
    blocks: ("fill_waves",),
    images: ("analysis", "synthesis"),
    products: ("product", "unit_gradients"),
    units: ("tables",),
}

# N, I, O, H, K, type, whether TF32 is allowed, whether sigma is learned
LAYERS = [
    (130, 64, 64, 56, 2, torch.float32, False, False),
    (16, 64, 64, 28, 4, torch.float32, True, True),
    (64, 512, 512, 7, 2, torch.bfloat16, True, False),
    (1, 1, 1, 8, 1, torch.float16, True, False),
]


class Driver:
    """A GPU that is not there."""

    def __init__(self, capability: int) -> None:
        self.get_current_target = lambda: GPUTarget("cuda", capability, 32)
        self.get_current_device = lambda: capability  # Triton keeps what it compiled by device

    def get_current_stream(self, device: int) -> int:
        return 0


class Compiled:
    """Stands for a kernel: compiles it for the arguments that it is called with."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        def call(*args, **options):
            made = self.kernel.warmup(*args, grid=grid, **options)
            found = {"kernel": self.kernel.__name__, "shared": made.metadata.shared, "stack": stack(made)}
            found |= {"target": made.metadata.target.arch, "precision": options.get("PRECISION")}
            sys.stdout.write(f"{json.dumps(found)}\n")

        return call


def stack(made) -> int:
    """Bytes of registers that did not fit."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(made.asm["cubin"])
        file.flush()
        done = subprocess.run([CUOBJDUMP, "-res-usage", file.name], check=True, capture_output=True, text=True)
    return int((done.stdout + done.stderr).split("STACK:")[1].split()[0])


def main() -> None:
    for module, names in KERNELS.items():
        for name in names:
            setattr(module, name, Compiled(getattr(module, name)))
    for capability in sys.argv[1:]:
        triton.runtime.driver.set_active(Driver(int(capability)))
        for n, i, o, h, k, dtype, allow_tf32, learned in LAYERS:
            torch.backends.cudnn.allow_tf32 = allow_tf32
            x, weight, displacement = (
                torch.zeros(n, i, h, h, dtype=dtype),
                torch.zeros(o, i, k),
                torch.zeros(o, i, k, 2),
            )
            sigma = torch.ones(o, i, k) if learned else torch.tensor(1.0)
            profile = Profile("bilinear", "smooth", 4.0, 1.0)
            task = Task(Layer(x, weight, displacement, sigma, torch.zeros(o), (1, 1), (0, 0), 1, profile))
            task.forward()
            task.backward(torch.zeros(n, o, h, h, dtype=dtype), [True] * 5)


if __name__ == "__main__":
    main()
