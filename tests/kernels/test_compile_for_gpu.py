"""The Triton kernels compiled for GPUs that are not here."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("triton")

SHARED_MEMORY = {80: 99 << 10, 90: 99 << 10, 100: 227 << 10, 120: 99 << 10}
"""Bytes that kernels may take, by compute capability: 99 KB are those of 8.6, 8.9 and 12.0."""

VARIANTS = 24
"""Kernels that the layers of a ResNet-50 may compile in one precision."""

SPILLED = 448
"""Bytes of registers of a thread that may go to memory: large tiles in exact float32, elsewhere 352."""

KERNELS = {"_spectra", "_analysis", "_product", "_synthesis", "_gradients", "_filtered", "_unit_gradients"}


@pytest.mark.parametrize(
    "capability", [pytest.param(80, marks=pytest.mark.slow), 90, 100, pytest.param(120, marks=pytest.mark.slow)]
)
def test_compiles(capability):
    """What the interpreter accepts must compile, into few kernels that do not take more memory than a GPU has."""
    script = Path(__file__).parent / "compile_for_gpu.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "ignore", str(script), str(capability)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert {m["kernel"] for m in made} == KERNELS
    assert max(Counter(m["network"] for m in made).values()) <= VARIANTS
    for kernel in made:
        assert kernel["target"] == capability
        assert kernel["shared"] <= SHARED_MEMORY[capability], kernel
        assert kernel["stack"] <= SPILLED, kernel
