"""Launches of Triton kernels without a GPU: the second call of a kind goes straight to the compiled kernel."""

import pytest
import torch

pytest.importorskip("triton")
from torchdau.gpu import blocks


class Compiled:
    def __init__(self, calls):
        self.calls = calls

    def __getitem__(self, grid):
        return lambda *arguments: self.calls.append((grid, *arguments))


class Kernel:
    """What looks like a kernel of Triton, and notes who is called."""

    arg_names = ("x", "count", "SIZE", "EXACT")

    def __init__(self):
        self.compilations, self.calls = [], []

    def __getitem__(self, grid):
        def compile_and_launch(*arguments, **constants):
            self.compilations.append((grid, *arguments, constants))
            return Compiled(self.calls)

        return compile_and_launch


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(blocks, "_compiled", {})
    return Kernel()


def test_a_second_call_with_the_same_numbers_compiles_nothing(kernel):
    first, second = torch.zeros(4), torch.ones(4)
    blocks.launch(kernel, (1, 2, 3), first, 7, EXACT=True, SIZE=16)  # constants in another order than the kernel's
    blocks.launch(kernel, (4, 5, 6), second, 7, EXACT=True, SIZE=16)
    assert len(kernel.compilations) == 1
    ((grid, x, *rest),) = kernel.calls
    assert grid == (4, 5, 6)
    assert x is second
    assert rest == [7, 16, True]  # as the kernel names them


@pytest.mark.parametrize(
    ("x", "count", "constants"),
    [
        (torch.zeros(4, dtype=torch.bfloat16), 7, {"SIZE": 16, "EXACT": True}),
        (torch.zeros(5)[1:], 7, {"SIZE": 16, "EXACT": True}),  # no longer at a multiple of 16 bytes
        (torch.zeros(4), 8, {"SIZE": 16, "EXACT": True}),
        (torch.zeros(4), 7, {"SIZE": 32, "EXACT": True}),
        (torch.zeros(4), 7, {"SIZE": 16, "EXACT": False}),
    ],
)
def test_other_numbers_are_another_kernel(kernel, x, count, constants):
    blocks.launch(kernel, (1, 1, 1), torch.zeros(4), 7, SIZE=16, EXACT=True)
    blocks.launch(kernel, (1, 1, 1), x, count, **constants)
    assert len(kernel.compilations) == 2
    assert not kernel.calls


def test_memory_is_bounded(kernel, monkeypatch):
    monkeypatch.setattr(blocks, "MOST", 3)
    for count in range(10):
        blocks.launch(kernel, (1, 1, 1), torch.zeros(4), count, SIZE=16, EXACT=True)
    assert len(blocks._compiled) <= 3
