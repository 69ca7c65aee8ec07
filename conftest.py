"""What every test and doctest starts from."""

import os
import sys

import pytest
import torch

import torchdau
from torchdau.algorithms.spectral import operators
from torchdau_cli.main import main

SHARED = "PYTEST_XDIST_WORKER" in os.environ
if SHARED:
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # Triton's kernels run on the CPU


@pytest.fixture(autouse=True)
def _start(doctest_namespace, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.getbasetemp() / "torch"))  # remembers what was checked
    torch.manual_seed(0)
    torch.set_default_device(os.environ.get("TORCHDAU_TEST_DEVICE"))  # "cuda" runs tests/test_operator.py there
    torch.set_num_threads(1 if SHARED else 2)
    operators._task.cache_clear()  # tests change what tasks are made from
    torch._dynamo.reset()  # tests must not use up each other's limit of recompilations
    doctest_namespace.update(torch=torch, nn=torch.nn, torchdau=torchdau)


@pytest.fixture(name="torchdau")
def command(monkeypatch, tmp_path):
    """Runs ``torchdau`` with arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHDAU_TRUST", "")  # which --trust changes

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["torchdau", *map(str, args)])
        main()

    return run
