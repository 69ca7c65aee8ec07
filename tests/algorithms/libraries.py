"""Which libraries of native kernels the tests can run."""

import ctypes

import pytest

from torchdau import kernels

AVAILABLE = {
    path.stem.removeprefix("kernels_"): path
    for path in kernels.built()
    if ctypes.CDLL(str(path)).torchdau_runs()  # the processor or the system may not have what it needs
}

built = pytest.mark.skipif(not AVAILABLE, reason="the kernels are not built: no C++ compiler")

needs_kernels = pytest.mark.skipif(not kernels.available(), reason=f"kernels {kernels.kernels().reason}")
