"""Types, layouts, precision, and values that nobody wants."""

import math

import pytest
import torch

from tests.operands import ALGORITHMS, F64, gradients, images, relative, units
from torchdau import dau_conv2d, kernels


@pytest.mark.parametrize("shape", [(4, 16, 24, 20, 20, 2), (2, 32, 32, 7, 9, 4), (1, 8, 8, 90, 70, 1)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_precision(algorithm, shape):
    n, i, o, height, width, k = shape
    x, (w, mu) = images(n, i, height, width), units(o, i, k)
    expected = gradients([x, w, mu], algorithm="dense")
    single = gradients([t.float() for t in (x, w, mu)], algorithm=algorithm)
    for a, b in zip(single, expected, strict=True):
        assert relative(a, b) < 2e-6
    if algorithm == "dense":
        return  # the yardstick of what follows
    for dtype in (torch.bfloat16, torch.float16):
        rounded = [x.to(dtype), w.to(dtype), mu.float()]
        truth = gradients([t.double() for t in rounded], algorithm="dense")
        dense = gradients(rounded, algorithm="dense")
        got = gradients(rounded, algorithm=algorithm)
        for a, b, c in zip(got, truth, dense, strict=True):
            assert a.dtype == c.dtype
            in_bfloat16 = dtype == torch.bfloat16 and algorithm == "spectral" and kernels.in_bfloat16()
            assert relative(a, b) <= (2.5 if in_bfloat16 else 2) * relative(c, b)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_layouts(algorithm):
    x, (w, mu) = images(2, 6, 9, 10), units(4, 6, 2)
    expected = dau_conv2d(x, w, mu, algorithm=algorithm)
    strided = torch.stack([x, x], -1)[..., 0]
    assert not strided.is_contiguous()
    torch.testing.assert_close(dau_conv2d(strided, w, mu, algorithm=algorithm), expected)
    last = dau_conv2d(x.to(memory_format=torch.channels_last), w, mu, algorithm=algorithm)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, expected)
    torch.testing.assert_close(dau_conv2d(x[0], w, mu, algorithm=algorithm), expected[0])
    torch.testing.assert_close(dau_conv2d(x, w.mT.contiguous().mT, mu, algorithm=algorithm), expected)
    assert dau_conv2d(x[:0], w, mu, algorithm=algorithm).shape == (0, 4, 9, 10)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_what_is_asked_for_is_differentiated(algorithm):
    tensors = [images(1, 2, 6, 6), *units(3, 2, 2)]
    expected = gradients(tensors, algorithm="dense")
    for wanted in range(3):
        leaves = [t.clone().requires_grad_(number == wanted) for number, t in enumerate(tensors)]
        output = dau_conv2d(*leaves, algorithm=algorithm)
        output.backward(images(*output.shape, seed=2))
        torch.testing.assert_close(leaves[wanted].grad, expected[wanted + 1])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_autocast_keeps_displacements_precise(algorithm):
    x, (w, mu) = images(2, 4, 8, 8, dtype=torch.float32), units(4, 4, 2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = dau_conv2d(x, w, mu, algorithm=algorithm)
    assert output.dtype == torch.bfloat16
    expected = dau_conv2d(x.bfloat16(), w.bfloat16(), mu, algorithm=algorithm)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("interpolation", ["bilinear", "gaussian"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_bad_displacement_spoils_its_own_outputs_only(algorithm, interpolation, bad):
    x, (w, mu) = images(2, 3, 40, 9), units(4, 3, 2)
    clean = dau_conv2d(x, w, mu, max_displacement=4, interpolation=interpolation, algorithm=algorithm)
    mu[2, 1, 0, 1] = bad
    output = dau_conv2d(x, w, mu, max_displacement=4, interpolation=interpolation, algorithm=algorithm)
    assert output[:, 2].isnan().all()
    others = [0, 1, 3]
    torch.testing.assert_close(output[:, others], clean[:, others])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "auto"])
def test_a_bad_pixel_spoils_what_sees_it_only(algorithm, bad):
    """Of its own image; by the spectral algorithm what is in its tile."""
    x, (w, mu) = images(2, 3, 200, 40, dtype=torch.float32), units(4, 3, 2, dtype=torch.float32)
    clean = dau_conv2d(x, w, mu, max_displacement=4, algorithm=algorithm)
    x[0, 1, 20, 20] = bad
    output = dau_conv2d(x, w, mu, max_displacement=4, algorithm=algorithm)
    spoiled = ~torch.isclose(output, clean, rtol=1e-4, atol=1e-5)
    assert spoiled[0, :, 20 + 7 :].logical_not().all() if algorithm != "spectral" else not spoiled[0, :, 150:].any()
    assert spoiled[0].any()
    assert not spoiled[1].any()


def test_far_displacements_count_as_the_bound():
    x, (w, mu) = images(1, 1, 9, 9), units(1, 1, 1)
    mu[...] = torch.tensor([1e30, -7.0])
    leaf = mu.clone().requires_grad_()
    output = dau_conv2d(x, w, leaf, max_displacement=2.5)
    at_bound = dau_conv2d(x, w, torch.tensor([[[[2.5, -2.5]]]], dtype=F64), max_displacement=2.5)
    torch.testing.assert_close(output, at_bound)
    output.sum().backward()
    assert leaf.grad.abs().min() > 0  # it can come back


def test_a_learned_sigma_is_at_least_a_tenth():
    x, (w, mu) = images(1, 1, 9, 9), units(1, 1, 1)
    narrow, tenth = torch.full((1, 1, 1), 0.02, dtype=F64), torch.full((1, 1, 1), 0.1, dtype=F64)
    torch.testing.assert_close(dau_conv2d(x, w, mu, narrow), dau_conv2d(x, w, mu, tenth, max_sigma=0.1))
