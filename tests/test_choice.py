"""What "auto" chooses: by shapes, types and devices alone, and what was measured faster by far."""

import pytest
import torch

from torchdau import dau_conv2d, functional, kernels
from torchdau.algorithms import ALGORITHMS, choose, direct
from torchdau.algorithms.direct.choice import Shape, backward_kernel, forward_kernel
from torchdau.algorithms.layer import Layer
from torchdau.algorithms.spectral import operators, triton
from torchdau.profile import Profile

PROFILE = Profile("bilinear", "smooth", 4.0, 0.5)


def chosen(n, i, o, side, k, profile=PROFILE, dtype=torch.float32, sigma=()):
    axes = (1, 1), (0, 0)
    layer = Layer((n, i, side, side), (o, i, k), *axes, 1, profile, dtype, torch.device("cpu"), not sigma)
    return choose(layer).forward


@pytest.mark.parametrize(
    ("n", "i", "o", "side", "k", "window", "expected"),
    [
        (64, 192, 192, 32, 2, 13, "spectral"),
        (64, 512, 512, 7, 2, 13, "spectral"),
        (64, 64, 64, 56, 2, 13, "spectral"),
        (1, 256, 256, 14, 2, 13, "spectral"),
        (1, 512, 512, 7, 2, 13, "spectral"),
        (2, 8, 8, 128, 2, 37, "spectral"),
        (256, 3, 96, 32, 4, 15, "spectral"),
        (256, 3, 96, 32, 4, 13, "dense"),
        (1, 16, 16, 8, 2, 13, "dense"),
        (32, 1, 32, 8, 2, 13, "dense"),
        (4, 8, 8, 16, 2, 7, "dense"),
    ],
)
def test_without_kernels(n, i, o, side, k, window, expected):
    reach = (window - 1) // 2
    profile = Profile("bilinear", "smooth", reach - 2, 0.5)
    assert profile.size == window
    assert chosen(n, i, o, side, k, profile, torch.float64) == expected


@pytest.mark.parametrize(
    ("n", "i", "o", "side", "stride", "groups", "expected"),
    [
        (128, 3, 64, 224, 2, 1, "dense"),
        (64, 96, 96, 56, 1, 96, "direct"),
        (64, 384, 384, 14, 1, 384, "direct"),
        (64, 128, 128, 56, 1, 32, "direct"),
        (64, 1, 32, 28, 1, 1, "direct"),
        (128, 16, 16, 32, 1, 1, "spectral"),
        (256, 64, 64, 56, 1, 1, "spectral"),
        (256, 128, 128, 56, 2, 1, "spectral"),
        (1, 256, 256, 14, 1, 1, "spectral"),
        (128, 512, 512, 7, 1, 1, "spectral"),
    ],
)
def test_on_a_gpu(monkeypatch, n, i, o, side, stride, groups, expected):
    """What was faster in a training step on an H100, in bfloat16 and TF32; "direct" was not measured."""
    for module in (triton, direct.triton):
        monkeypatch.setattr(module, "available", lambda device: True)

    shapes, axes = ((n, i, side, side), (o, i // groups, 2)), ((stride, stride), (0, 0))
    layer = Layer(*shapes, *axes, groups, PROFILE, torch.bfloat16, torch.device("cuda"), True)
    assert choose(layer, training=True) == (expected, expected)


@pytest.mark.skipif(not kernels.available(), reason="the kernels are not built: no C++ compiler")
@pytest.mark.parametrize(
    ("n", "i", "o", "side", "k", "expected"),
    [
        (64, 192, 192, 32, 2, "spectral"),
        (64, 512, 512, 7, 2, "spectral"),
        (32, 64, 64, 56, 8, "spectral"),
        (1, 64, 64, 200, 2, "spectral"),
        (1, 256, 256, 14, 2, "direct"),
        (1, 512, 512, 7, 2, "direct"),
        (1, 128, 128, 28, 2, "direct"),
        (1, 16, 16, 8, 2, "direct"),
    ],
)
def test_with_kernels(n, i, o, side, k, expected):
    assert chosen(n, i, o, side, k) == expected
    # where the direct kernel cannot serve, another does
    assert chosen(n, i, o, side, k, sigma=(o, i, k)) != "direct"
    assert chosen(n, i, o, side, k, Profile("gaussian", "smooth", 4.0, 0.5)) != "direct"
    assert chosen(n, i, o, side, k, dtype=torch.float64) != "direct"


@pytest.mark.skipif(not kernels.available(), reason="the kernels are not built: no C++ compiler")
@pytest.mark.parametrize(
    ("n", "i", "o", "side", "stride", "forward", "training"),
    [
        (8, 256, 512, 8, 2, "direct", ("direct", "direct")),
        (8, 512, 512, 4, 1, "direct", ("direct", "direct")),
        (8, 64, 64, 56, 1, "spectral", ("spectral", "spectral")),
        (8, 256, 256, 8, 1, "direct", ("direct", "direct")),
        (32, 128, 256, 16, 2, "direct", ("direct", "spectral")),
    ],
)
def test_a_backward_pass_counts(n, i, o, side, stride, forward, training):
    """What benchmarks/choice.py found faster, forward and in training."""
    shapes, axes = ((n, i, side, side), (o, i, 2)), ((stride, stride), (0, 0))
    layer = Layer(*shapes, *axes, 1, PROFILE, torch.float32, torch.device("cpu"), True)
    assert (choose(layer).forward, choose(layer, training=True)) == (forward, training)


def test_the_choice_is_told_of_a_backward_pass(monkeypatch):
    told = []
    monkeypatch.setattr(functional, "choose", lambda *layer: told.append(layer[-1]) or ("dense", "dense"))
    x, w, mu = torch.randn(1, 2, 5, 5), torch.randn(2, 2, 1), torch.zeros(2, 2, 1, 2)
    dau_conv2d(x, w, mu)
    dau_conv2d(x, w.requires_grad_(), mu)
    with torch.no_grad():
        dau_conv2d(x, w, mu)
    assert told == [False, True, False]


def test_auto_calls_the_choice(monkeypatch):
    for module in (direct, operators):
        monkeypatch.setattr(module, "available", lambda: False)
    monkeypatch.setattr(operators, "advise", lambda: None)
    calls = []
    for name, module in ALGORITHMS.items():
        original = module.dau_conv2d
        monkeypatch.setattr(module, "dau_conv2d", lambda *a, _f=original, _n=name, **k: calls.append(_n) or _f(*a, **k))
    w, mu = torch.randn(2, 2, 1), torch.zeros(2, 2, 1, 2)
    dau_conv2d(torch.randn(1, 2, 5, 5), w, mu)
    dau_conv2d(torch.randn(1, 2, 5, 5), w, mu, algorithm="spectral")
    w, mu = torch.randn(64, 64, 1), torch.zeros(64, 64, 1, 2)
    dau_conv2d(torch.randn(1, 64, 56, 56), w, mu, max_displacement=4)
    assert calls == ["dense", "spectral", "spectral"]


@pytest.mark.skipif(not kernels.available(), reason=f"kernels {kernels.kernels().reason}")
@pytest.mark.parametrize("training", [False, True])
def test_narrow_layers_of_many_images(training):
    """What was 1.6 to 1.9 times faster on Emerald Rapids."""
    layer = Layer((128, 16, 16, 16), (32, 16, 2), (1, 1), (0, 0), 1, PROFILE, torch.float32, torch.device("cpu"), True)
    assert choose(layer, training) == ("direct", "direct")


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("n", "groups", "i", "o", "side", "stride", "forward", "backward"),
    [
        (8, 384, 1, 1, 14, 1, "narrow", "narrow"),
        (8, 64, 1, 1, 64, 1, "narrow", "narrow"),
        (8, 64, 1, 1, 64, 2, None, "narrow"),
        (8, 768, 1, 1, 7, 1, "narrow", "narrow"),
        (8, 16, 16, 16, 16, 1, "lanes", "lanes"),
        (8, 1, 3, 32, 64, 2, "lanes", "lanes"),
    ],
)
def test_the_kernel_for_few_channels(n, groups, i, o, side, stride, forward, backward, channels_last):
    """What benchmarks/kernels.py found faster in both layouts of memory, by a quarter to 16 times."""
    size = (-(-side // stride),) * 2
    shape = Shape(n, groups, i, o, 2, size, (stride, stride), PROFILE.size, channels_last=channels_last)
    assert forward_kernel(shape) == (forward or ("narrow" if channels_last else "lanes"))
    assert backward_kernel(shape) == backward


@pytest.mark.skipif(not kernels.in_bfloat16(), reason="no kernels for AMX, or no such processor")
def test_bfloat16_with_amx():
    """With AMX, large batches of a strided layer are faster by the spectral algorithm."""
    names = []
    for dtype in (torch.float32, torch.bfloat16):
        layer = Layer((32, 64, 32, 32), (128, 64, 2), (2, 2), (0, 0), 1, PROFILE, dtype, torch.device("cpu"), True)
        names.append(choose(layer).forward)
    assert names == ["direct", "spectral"]
