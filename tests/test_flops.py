"""FLOPs of unit layers in PyTorch's counter: the paper's formula, whichever fast algorithm computes the layer."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from torchdau import DAUConv2d, convert_, kernels


def count(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("algorithm", ["auto", "spectral", "direct"])
@pytest.mark.parametrize("padding", [0, 2])
def test_forward_and_backward(algorithm, padding):
    if algorithm == "direct" and not kernels.available():
        pytest.skip("no native kernels")
    layer = DAUConv2d(16, 24, num_units=3, algorithm=algorithm, groups=2, stride=2, padding=padding)
    image = torch.randn(5, 16, 11, 13, requires_grad=True)
    outputs = {0: 6 * 7, 2: 8 * 9}[padding]
    once = 2 * (4 * 5 * 24 * 8 * 3 * outputs + 5 * 16 * 11 * 13 * 5**2)  # sigma 0.5: radius 2
    assert count(lambda: layer(image)) == once
    assert count(lambda: layer(image).sum().backward()) == once * (1 + 1 + 1 + 2)
    assert count(lambda: layer(image.detach()).sum().backward()) == once * (1 + 1 + 2)
    layer.displacement.requires_grad_(False)
    assert count(lambda: layer(image.detach()).sum().backward()) == once * (1 + 1)


def test_a_learned_sigma_counts():
    layer = DAUConv2d(16, 24, num_units=3, learn_sigma=True, interpolation="gaussian")
    image = torch.randn(1, 16, 12, 12)
    once = 2 * (4 * 24 * 16 * 3 + 16 * 7**2) * 12 * 12  # up to 1: radius 3
    assert count(lambda: layer(image).sum().backward()) == once * (1 + 1 + 2 + 1)


def test_a_converted_network_beside_the_plain_one():
    """The speed-up (17) for one unit per pair: 9 / 4, but for the blurring."""
    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 10, 1))
    image = torch.randn(2, 64, 20, 20)
    plain, head = count(lambda: model(image)), count(lambda: model[2](image))
    units = count(lambda: convert_(model, 1)(image))
    assert (plain - head) / (units - head) == pytest.approx(9 / (4 + 25 / 64))


@pytest.mark.parametrize(
    "order", ["import torchdau, torch.utils.flop_counter as c", "import torch.utils.flop_counter as c, torchdau"]
)
def test_whichever_is_imported_first(order):
    code = f"""
import sys, torch
{order}
import torch.utils.flop_counter
layer = torchdau.DAUConv2d(2, 3, algorithm="spectral")
with c.FlopCounterMode(display=False) as counter:
    layer(torch.randn(1, 2, 5, 5))
print(counter.get_total_flops())
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(run.stdout) == 2 * (4 * 3 * 2 * 2 + 2 * 25) * 25


def test_the_counter_is_looked_for_and_imported_again():
    code = """
import importlib, importlib.util, torch, torchdau
assert importlib.util.find_spec("torch.utils.flop_counter") is not None
import torch.utils.flop_counter as c
importlib.reload(torchdau)
importlib.reload(c)
with c.FlopCounterMode(display=False) as counter:
    torchdau.DAUConv2d(2, 3, algorithm="spectral")(torch.randn(1, 2, 5, 5))
assert counter.get_total_flops() > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)
