"""The spectral algorithm in bfloat16 on a processor with AMX, against the dense algorithm in float64."""

import ctypes
import itertools

import pytest
import torch

from tests.algorithms.libraries import AVAILABLE
from tests.algorithms.test_native import CASES
from tests.operands import gradients, images, relative, units
from torchdau import dau_conv2d, kernels
from torchdau.algorithms.spectral import native, planning
from torchdau.kernels import Kernels

pytestmark = pytest.mark.skipif("amx" not in AVAILABLE, reason="no kernels for AMX, or no such processor")

TOLERANCE = 8e-3
"""Relative error of outputs and gradients; rounding them to bfloat16 causes 1.7e-3 of it."""


@pytest.fixture(autouse=True)
def amx(monkeypatch):
    library = ctypes.CDLL(str(AVAILABLE["amx"]))
    monkeypatch.setattr(kernels, "kernels", lambda: Kernels(library, "amx"))


def check(x, weight, mu, *others, **options):
    """Compare a training step with the dense algorithm in float64, from the same rounded numbers."""
    rounded = [x.bfloat16(), weight.bfloat16(), mu.float(), *(t.bfloat16() for t in others)]
    expected = gradients([t.double() for t in rounded], algorithm="dense", **options)
    for a, b in zip(gradients(rounded, algorithm="spectral", **options), expected, strict=True):
        assert relative(a, b) < (TOLERANCE if b.ndim else 0.3)  # a shared sigma's is a sum in which most cancels


@pytest.mark.parametrize("case", [*CASES, (17, 40, 33, 5, 20, 2, 1, 0, 1), (33, 16, 16, 9, 3, 2, 1, 0, 1)], ids=str)
@pytest.mark.parametrize("form", [("bilinear", "smooth"), ("bilinear", "exact"), ("gaussian", "smooth")], ids="-".join)
@pytest.mark.parametrize("learned", [False, True])
def test_equals_dense(case, form, learned):
    n, i, o, h, w, k, stride, padding, groups = case
    sigma = torch.rand(o, i // groups, k) * 0.7 + 0.2 if learned else torch.tensor(0.5)
    options = dict(zip(("interpolation", "displacement_gradient"), form, strict=True))
    options |= {"stride": stride, "padding": padding, "groups": groups, "max_displacement": 4, "max_sigma": 1}
    check(images(n, i, h, w), *units(o, i // groups, k), sigma, images(o), **options)


def test_it_is_used():
    """What is compared here is not computed in float32."""
    x, (w, mu) = images(2, 16, 9, 9).bfloat16(), (t.bfloat16() for t in units(16, 16, 2))
    half = dau_conv2d(x, w, mu, algorithm="spectral", max_displacement=4)
    single = dau_conv2d(*(t.float() for t in (x, w, mu)), algorithm="spectral", max_displacement=4)
    assert half.dtype == torch.bfloat16
    assert not torch.equal(half, single.bfloat16())


def test_pieces(monkeypatch):
    """Every way of cutting: tiles that overlap, rows of tiles at a time, and tables of some channels at a time."""
    x, (w, mu) = images(3, 20, 50, 44), units(70, 20, 2)
    monkeypatch.setattr(planning, "_cost", lambda *args: -args[-2].inputs.count - args[-1].inputs.count)
    for spectra, tables in itertools.product((1 - (1 << 40), 64 << 20), (1, 16 << 20)):
        monkeypatch.setattr(native, "SPECTRA", spectra)
        monkeypatch.setattr(native, "TABLES", tables)
        planning.plan.cache_clear()
        check(x, w, mu)
    planning.plan.cache_clear()


def test_many_channels_and_images():
    check(images(67, 270, 3, 2), *units(140, 270, 1, bound=1))


@pytest.mark.parametrize("threads", [1, 5])
def test_layouts_and_threads_change_no_bit(threads):
    shape, outputs = (2, 40, 40, 33), 33
    x, (w, mu), bias = images(*shape).bfloat16(), units(outputs, shape[1], 2), images(outputs).bfloat16()
    before = torch.get_num_threads()
    results = []
    try:
        for view, count in ((x, 2), (x.contiguous(memory_format=torch.channels_last), threads)):
            torch.set_num_threads(count)
            leaves = [t.clone().requires_grad_() for t in (view, w.bfloat16(), mu.float(), bias)]
            output = dau_conv2d(
                leaves[0], leaves[1], leaves[2], 0.5, leaves[3], max_displacement=4, algorithm="spectral"
            )
            upstream = images(*output.shape, seed=2).to(output)
            results.append([output, *torch.autograd.grad(output, leaves, upstream)])
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_bad_numbers_stay_where_they_are(bad):
    """A bad displacement spoils one channel, a bad pixel one image."""
    x, (w, mu) = images(3, 8, 20, 9).bfloat16(), (t.float() for t in units(8, 8, 2))
    options = {"max_displacement": 4, "algorithm": "spectral"}
    clean = dau_conv2d(x, w.bfloat16(), mu, **options)
    spoiled = mu.clone()
    spoiled[2, 1, 0, 1] = torch.nan
    output = dau_conv2d(x, w.bfloat16(), spoiled, **options)
    others = [o for o in range(8) if o != 2]
    assert output[:, 2].isnan().all()
    assert torch.equal(output[:, others], clean[:, others])
    x[1, 3, 4, 5] = bad
    output = dau_conv2d(x, w.bfloat16(), mu, **options)
    assert not output[1].isfinite().any()
    assert torch.equal(output[[0, 2]], clean[[0, 2]])
