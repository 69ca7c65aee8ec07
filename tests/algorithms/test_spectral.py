"""What only the spectral algorithm has: tiles, pieces, memory that is used again, registered operators."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.operands import gradients, images, relative, units
from torchdau import dau_conv2d, kernels
from torchdau import workspace as workspace_module
from torchdau.algorithms.spectral import operators, planning, task
from torchdau.kernels import TURNED_OFF, Kernels


@pytest.mark.parametrize("size", [(64, 64), (65, 31), (63, 128), (8, 200)], ids=str)
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), ((3, 1), (0, 5))])
def test_tiles_equal_dense(monkeypatch, size, stride, padding):
    """Every way of cutting: tiles on both axes, pieces of images, of rows of tiles and of output channels."""
    x, (w, mu), bias = images(3, 4, *size), units(6, 2, 2), images(6)
    layer = [x, w, mu, torch.tensor(0.5, dtype=x.dtype), bias]
    options = {"stride": stride, "padding": padding, "groups": 2, "displacement_gradient": "exact", "max_sigma": 0.5}
    expected = gradients(layer, algorithm="dense", **options)
    for tiles, workspace in itertools.product((-1, 1), (1, 200_000, 1 << 30)):  # as many as possible, or one
        monkeypatch.setattr(
            planning, "_cost", lambda *args, sign=tiles: sign * (args[-2].inputs.count + args[-1].inputs.count)
        )
        monkeypatch.setattr(task, "IMAGE_WORKSPACE", workspace)
        monkeypatch.setattr(task, "UNIT_WORKSPACE", workspace)
        monkeypatch.setattr(task, "BLOCK", workspace)
        planning.plan.cache_clear()
        operators._task.cache_clear()
        for a, b in zip(gradients(layer, algorithm="spectral", **options), expected, strict=True):
            assert relative(a, b) < 1e-12 * (1 if b.ndim else 100)
    planning.plan.cache_clear()


def test_tiles_beyond_the_image(monkeypatch):
    """With a padding wider than a tile."""
    monkeypatch.setattr(planning, "_cost", lambda *args: -args[-2].inputs.count - args[-1].inputs.count)
    planning.plan.cache_clear()
    x, (w, mu) = images(1, 2, 64, 30), units(2, 2, 1)
    got, expected = (gradients([x, w, mu], padding=60, algorithm=name) for name in ("spectral", "dense"))
    for a, b in zip(got, expected, strict=True):
        assert relative(a, b) < 1e-12
    planning.plan.cache_clear()


def test_half_precision_sums_in_pieces(monkeypatch):
    """Gradients of half-precision parameters are summed over pieces of images in float32."""
    x, (w, mu) = images(32, 4, 24, 24), units(4, 4, 2)
    rounded = [x.bfloat16(), w.bfloat16(), mu.float()]
    truth = gradients([t.double() for t in rounded], algorithm="dense")
    monkeypatch.setattr(kernels, "kernels", lambda: Kernels(None, TURNED_OFF))
    monkeypatch.setattr(task, "IMAGE_WORKSPACE", 1)
    got = gradients(rounded, algorithm="spectral")
    for a, b in zip(got, truth, strict=True):
        assert relative(a, b) < 2**-8


def test_inference_mode_leaves_nothing_behind(monkeypatch):
    x, (w, mu) = images(2, 4, 24, 24), units(4, 4, 2)
    monkeypatch.setattr(workspace_module, "_buffers", workspace_module._Buffers())
    with torch.inference_mode():
        expected = dau_conv2d(x, w, mu, algorithm="spectral")
    torch.testing.assert_close(gradients([x, w, mu], algorithm="spectral")[0], expected.clone())


def test_threads_do_not_share_memory():
    inputs = [(images(2, 4, 20 + n, 24, seed=n), *units(4, 4, 2, seed=n)) for n in range(8)]
    expected = [dau_conv2d(*each, algorithm="spectral") for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda each: dau_conv2d(*each, algorithm="spectral"), inputs * 8))
    for a, b in zip(got, expected * 8, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("needed", [[True] * 5, [True, *[False] * 4], [False, True, True, False, True]], ids=str)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # inside of opcheck
def test_registered_operators(needed, shared, dtype):
    x, w, mu, bias = torch.randn(2, 4, 6, 5), torch.randn(6, 4, 2), torch.rand(6, 4, 2, 2), torch.randn(6)
    sigma = torch.tensor(0.5) if shared else torch.full((6, 4, 2), 0.5)
    tensors = [t.to(dtype) for t in (x, w, mu, sigma, bias)]
    leaves = [t.requires_grad_(need) for t, need in zip(tensors, needed, strict=True)]
    options = ([1, 2], [0, 1], 1, "bilinear", "smooth", 2.0, 0.5)
    torch.library.opcheck(torch.ops.torchdau.spectral.default, (*leaves, *options, False))
    plain = [t.detach() for t in leaves]
    grad = torch.randn(2, 6, 6, 4, dtype=dtype)
    torch.library.opcheck(
        torch.ops.torchdau.spectral_backward.default, (grad, *plain, *options, x.new_empty(0), needed)
    )
