"""Which libraries of native kernels the tests can run."""

from pathlib import Path

import pytest
import torch

import torchdau
from torchdau import kernels
from torchdau.kernels import VARIANTS

AVAILABLE = {
    name: path
    for name in VARIANTS.get(torch.backends.cpu.get_cpu_capability(), ("baseline",))
    if (path := Path(torchdau.__file__).parent / "kernels" / f"kernels_{name}.so").exists()
}

built = pytest.mark.skipif(not AVAILABLE, reason="the kernels are not built: no C++ compiler")

needs_kernels = pytest.mark.skipif(not kernels.available(), reason=f"kernels {kernels.kernels().reason}")
