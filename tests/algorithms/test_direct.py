"""The direct algorithm: every library that this processor can run, against the dense algorithm in float64."""

import ctypes

import pytest
import torch

from tests.algorithms.test_native import AVAILABLE
from tests.operands import gradients, images, relative, units
from torchdau import dau_conv2d, kernels
from torchdau.algorithms import direct
from torchdau.algorithms.direct import blurred
from torchdau.kernels import Kernels

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the kernels are not built: no C++ compiler")

needs_kernels = pytest.mark.skipif(not kernels.available(), reason=f"kernels {kernels.kernels().reason}")


@pytest.fixture(autouse=True)
def _no_narrow_layers(monkeypatch):
    """Small layers are computed as large ones are."""
    monkeypatch.setattr(direct, "FEW", 0)


@pytest.fixture(params=AVAILABLE)
def variant(request, monkeypatch):
    library = ctypes.CDLL(str(AVAILABLE[request.param]))
    monkeypatch.setattr(kernels, "kernels", lambda: Kernels(library, request.param))
    return request.param


@pytest.mark.parametrize(
    "case",  # N, I, O, H, W, K, stride, padding, groups, bound, sigma
    [
        (3, 5, 7, 9, 9, 2, 1, 0, 1, 4, 0.5),
        (2, 33, 40, 13, 17, 3, 1, 0, 1, 4, 0.5),
        (1, 3, 16, 40, 33, 2, 1, 0, 1, 4.5, 0.8),
        (5, 16, 32, 8, 8, 1, 2, 0, 1, 4, 0.5),
        (2, 6, 4, 31, 50, 2, (2, 3), (3, 0), 2, 3, 0.8),
        (2, 6, 4, 20, 20, 2, (1, 2), 0, 2, 3, 0.8),
        (2, 6, 4, 20, 20, 2, (2, 1), 0, 2, 3, 0.8),
        (2, 16, 16, 12, 12, 2, 1, -2, 2, 4, 0.5),
        (1, 4, 4, 100, 90, 2, 1, 0, 1, 20, 0.5),
        (3, 8, 8, 1, 1, 2, 1, 0, 1, 2, 0.3),
        (2, 6, 6, 5, 1, 6, 1, 4, 6, 9, 0.3),
    ],
    ids=str,
)
def test_equals_dense(variant, case, monkeypatch):
    n, i, o, h, w, k, stride, padding, groups, bound, sigma = case
    inputs = [images(n, i, h, w), *units(o, i // groups, k, bound), torch.tensor(sigma, dtype=torch.float64), images(o)]
    options = {
        "stride": stride,
        "padding": padding,
        "groups": groups,
        "max_displacement": bound,
        "max_sigma": max(sigma, 0.1),
    }
    if padding == -2:  # what a layer with another padding mode passes
        inputs[0], options["padding"] = inputs[0][..., 2:-2, 2:-2], 0
    expected = gradients(inputs, algorithm="dense", **options)
    single = [t.float() for t in inputs]
    for planes in (1, blurred.PLANES):
        monkeypatch.setattr(blurred, "PLANES", planes)
        got = gradients(single, algorithm="direct", **options)
        assert relative(got[0], expected[0]) < 1e-6
        for a, b in zip(got[1:], expected[1:], strict=True):
            assert relative(a, b) < (2e-6 if b.ndim else 2e-5)  # a shared sigma's is a sum in which most cancels


def test_a_unit_just_below_a_pixel(variant):
    """Where the distance to the pixel on the left rounds to 1, and its weight to 0."""
    x, w = images(1, 1, 6, 6).float(), torch.ones(1, 1, 1)
    for below in (-1e-9, -1e-30, 1 - 2**-24):
        mu = torch.tensor([[[[below, below]]]])
        near = dau_conv2d(x, w, mu.round(), max_displacement=2, algorithm="direct")
        torch.testing.assert_close(dau_conv2d(x, w, mu, max_displacement=2, algorithm="direct"), near)


@pytest.mark.parametrize("share", [0.3, 0.95, 1.0])
def test_units_that_add_nothing(variant, share):
    """A pruned layer, whose units of weight 0 are passed over; a bad displacement of one shows all the same."""
    x, (w, mu), bias = images(2, 20, 9, 18), units(10, 20, 3), images(10)
    w[torch.rand(w.shape) < share] = 0
    options = {"bias": bias, "max_displacement": 4}
    expected = dau_conv2d(x, w, mu, **options, algorithm="dense")
    single = {"bias": bias.float(), "max_displacement": 4, "algorithm": "direct"}
    assert relative(dau_conv2d(x.float(), w.float(), mu.float(), **single), expected) < 1e-6
    w[4, 7, 1], mu[4, 7, 1, 0] = 0, torch.nan
    output = dau_conv2d(x.float(), w.float(), mu.float(), **single)
    assert output[:, 4].isnan().all()
    assert output.isnan().sum() == output[:, 4].numel()


def test_half_types_and_no_images(variant):
    x, (w, mu) = images(2, 8, 9, 9), units(4, 8, 2)
    expected = dau_conv2d(x, w, mu, algorithm="dense")
    for dtype in (torch.bfloat16, torch.float16):
        got = dau_conv2d(x.to(dtype), w.to(dtype), mu.float(), algorithm="direct")
        assert got.dtype == dtype
        assert relative(got, expected) < 2**-7
    assert dau_conv2d(x[:0].float(), w.float(), mu.float(), algorithm="direct").shape == (0, 4, 9, 9)


def test_a_bad_displacement_spoils_its_own_outputs_only(variant):
    x, (w, mu) = images(2, 3, 20, 9).float(), (t.float() for t in units(4, 3, 2))
    clean = dau_conv2d(x, w, mu, max_displacement=4, algorithm="direct")
    mu[2, 1, 0, 1] = torch.nan
    output = dau_conv2d(x, w, mu, max_displacement=4, algorithm="direct")
    assert output[:, 2].isnan().all()
    torch.testing.assert_close(output[:, [0, 1, 3]], clean[:, [0, 1, 3]], rtol=0, atol=0)


@needs_kernels
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # inside of opcheck
@pytest.mark.parametrize("needed", [True, False])
def test_registered_operator(needed):
    tensors = [torch.randn(2, 4, 6, 5), torch.randn(6, 4, 2), torch.rand(6, 4, 2, 2), torch.tensor(0.5), torch.randn(6)]
    leaves = [t.requires_grad_(needed) for t in tensors]
    torch.library.opcheck(torch.ops.torchdau.direct.default, (*leaves, [1, 2], [0, 1], 1, "smooth", 2.0, 0.5))


@needs_kernels
def test_compiled():
    layer = torch.compile(lambda x, w, mu: dau_conv2d(x, w, mu, max_displacement=4), fullgraph=True)
    x, (w, mu) = images(1, 16, 9, 9).float(), (t.float() for t in units(16, 16, 2))
    torch.testing.assert_close(layer(x, w, mu), dau_conv2d(x, w, mu, max_displacement=4, algorithm="direct"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interpolation": "gaussian"}, "must have interpolation='bilinear', got 'gaussian'"),
        ({"sigma": torch.full((4, 3, 2), 0.5)}, r"must have one sigma for all units, got sigma of shape \(4, 3, 2\)"),
        ({"dtype": torch.float64}, "must have input of float32 or less, got dtype=torch.float64"),
    ],
)
def test_refusals(options, message):
    dtype = options.pop("dtype", torch.float32)
    x, (w, mu) = images(2, 3, 9, 9).to(dtype), (t.to(dtype) for t in units(4, 3, 2))
    with pytest.raises(ValueError, match=f'algorithm="direct" {message}'):
        dau_conv2d(x, w, mu, algorithm="direct", **options)


def test_refusal_without_kernels(monkeypatch):
    for module in (kernels, direct):
        monkeypatch.setattr(module, "kernels", lambda: Kernels(None, "not built"))
    x, (w, mu) = images(2, 3, 9, 9).float(), (t.float() for t in units(4, 3, 2))
    with pytest.raises(ValueError, match="needs the native kernels, which are not built"):
        dau_conv2d(x, w, mu, algorithm="direct")
