"""What "auto" chooses: by shapes alone, and what was measured faster by far."""

import pytest
import torch

from torchdau import dau_conv2d
from torchdau.algorithms import ALGORITHMS, CHOICES, choose


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
def test_choice(n, i, o, side, k, window, expected):
    assert choose(n, 1, i, o, k, (side, side), (1, 1), window) == expected


def test_auto_calls_the_choice(monkeypatch):
    calls = []
    for name in CHOICES:
        module = ALGORITHMS[name]
        original = module.dau_conv2d
        monkeypatch.setattr(module, "dau_conv2d", lambda *a, _f=original, _n=name, **k: calls.append(_n) or _f(*a, **k))
    w, mu = torch.randn(2, 2, 1), torch.zeros(2, 2, 1, 2)
    dau_conv2d(torch.randn(1, 2, 5, 5), w, mu)
    dau_conv2d(torch.randn(1, 2, 5, 5), w, mu, algorithm="spectral")
    w, mu = torch.randn(64, 64, 1), torch.zeros(64, 64, 1, 2)
    dau_conv2d(torch.randn(1, 64, 56, 56), w, mu, max_displacement=4)
    assert calls == ["dense", "spectral", "spectral"]
