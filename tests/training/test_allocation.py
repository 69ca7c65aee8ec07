"""Memory that tensors free, which the next ones get."""

import resource
import subprocess
import sys

import pytest

CODE = """
import resource, torch
from torchdau.training.allocation import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
faults()
by_default = faults()
keep_freed_memory()
faults()
print(by_default, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has this setting")
def test_a_freed_tensor_leaves_its_pages_to_the_next():
    shown = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    by_default, kept = map(int, shown.split())
    assert by_default > 40_000_000 / resource.getpagesize() / 2
    assert kept < 100
