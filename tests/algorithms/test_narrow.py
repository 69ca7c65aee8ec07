"""The kernel for few channels in a group: every library that this processor can run, against dense in float64."""

import itertools

import pytest
import torch

from tests.algorithms.test_direct import AVAILABLE, needs_kernels, variant
from tests.operands import gradients, images, relative, units
from torchdau import dau_conv2d
from torchdau.algorithms import choose
from torchdau.profile import Profile

__all__ = ["variant"]

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the kernels are not built: no C++ compiler")


@pytest.mark.parametrize("gradient", ["smooth", "exact"])
@pytest.mark.parametrize(
    "case",  # N, groups, inputs and outputs of each, H, W, K, stride, padding, bound, sigma
    [
        *((2, 3, 1, 1, side, side, 2, 1, 0, 4, 0.5) for side in (1, 2, 7, 15, 16, 17, 65)),
        (1, 5, 1, 3, 9, 33, 3, 1, 1, 8, 0.8),
        (3, 2, 1, 1, 31, 40, 6, 2, 0, 2.5, 0.5),
        (2, 4, 1, 2, 14, 14, 1, (3, 1), (2, 0), 1, 0.3),
        (2, 4, 1, 1, 12, 13, 2, (1, 2), 0, 0, 0.5),
        (2, 3, 1, 1, 12, 12, 2, 1, -2, 4, 1.0),
        (1, 2, 1, 1, 8, 8, 2, 1, 0, 30, 0.5),
        (2, 3, 1, 1, 3, 50, 2, 4, 3, 4, 3.0),
        (2, 1, 3, 16, 20, 21, 2, 2, 0, 4, 0.5),
        (1, 1, 3, 5, 9, 8, 3, 1, 0, 4, 0.5),
        (3, 2, 4, 3, 7, 19, 1, (1, 2), 1, 6, 0.8),
        (2, 1, 1, 4, 10, 10, 2, 1, 0, 4, 0.5),
    ],
    ids=str,
)
def test_equals_dense(variant, case, gradient):
    n, groups, i, o, h, w, k, stride, padding, bound, sigma = case
    x, (weight, mu), bias = images(n, groups * i, h, w), units(groups * o, i, k, bound), images(groups * o)
    if k == 6:  # on pixels, where bilinear interpolation has its corners
        mu = mu.round().clamp(-bound, bound)
    options = {"stride": stride, "padding": padding, "groups": groups, "displacement_gradient": gradient}
    results = []
    for algorithm, dtype in (("dense", torch.float64), ("direct", torch.float32)):
        leaves = [t.to(dtype).detach().requires_grad_() for t in (x, weight, mu, bias)]
        output = dau_conv2d(*leaves[:3], sigma, leaves[3], max_displacement=bound, algorithm=algorithm, **options)
        up = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        results.append([output.detach(), *torch.autograd.grad(output, leaves, up.to(dtype))])
    for b, a in zip(*results, strict=True):
        assert relative(a, b) < 2e-6 if b.any() else not a.any()


@needs_kernels
def test_a_learned_sigma_for_all_units():
    inputs = [images(2, 3, 9, 9), *units(3, 1, 2), torch.tensor(0.5, dtype=torch.float64)]
    options = {"groups": 3, "max_displacement": 4, "max_sigma": 1.0}
    expected = gradients(inputs, algorithm="dense", **options)
    for a, b in zip(gradients([t.float() for t in inputs], algorithm="direct", **options), expected, strict=True):
        assert relative(a, b) < (2e-6 if b.ndim else 2e-4)  # a sum in which most cancels


def step(x, w, mu, **options):
    leaves = [t.detach().clone().requires_grad_() for t in (x, w, mu)]
    output = dau_conv2d(*leaves, 0.5, max_displacement=4, groups=len(w), algorithm="direct", **options)
    return [output.detach(), *torch.autograd.grad(output.float().square().sum(), leaves)]


@needs_kernels
def test_any_number_of_threads_gives_the_same_bits():
    x, (w, mu) = images(3, 7, 20, 21).float(), units(7, 1, 3)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(step(x, w.float(), mu.float()))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    x, (w, mu) = images(2, 4, 9, 9), units(4, 1, 2)
    rounded = [x.to(dtype), w.to(dtype), mu.float()]
    options = {"groups": 4, "max_displacement": 4}
    expected = gradients([t.double() for t in rounded], algorithm="dense", **options)
    for a, b in zip(gradients(rounded, algorithm="direct", **options), expected, strict=True):
        assert relative(a, b) < torch.finfo(dtype).eps


@needs_kernels
def test_a_unit_that_is_not_a_number_spoils_its_channel():
    x, (w, mu) = images(1, 3, 6, 6).float(), units(3, 1, 2)
    mu[1, 0, 0, 1] = float("nan")
    output, d_input, *_ = step(x, w.float(), mu.float())
    for result in (output, d_input):
        assert result[:, 1].isnan().all()
        assert result[:, [0, 2]].isfinite().all()


@needs_kernels
def test_no_images_and_no_need():
    x, (w, mu) = torch.empty(0, 3, 6, 6), units(3, 1, 2)
    output, d_input, *others = step(x, w.float(), mu.float())
    assert output.shape == d_input.shape == (0, 3, 6, 6)
    assert not any(other.any() for other in others)
    x, w, mu = images(1, 3, 6, 6).float().requires_grad_(), w.float(), mu.float()
    frozen = dau_conv2d(x, w, mu, 0.5, max_displacement=4, groups=3, algorithm="direct")
    whole = step(x, w, mu)
    assert torch.equal(torch.autograd.grad(frozen.square().sum(), x)[0], whole[1])


@needs_kernels
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # inside of opcheck
def test_registered_operators():
    x, (w, mu), bias = images(2, 3, 6, 5).float(), units(3, 1, 2), images(3).float()
    sigma = torch.tensor(0.5)
    for learned in (False, True):
        leaves = [t.float().detach().requires_grad_() for t in (x, w, mu)]
        arguments = *leaves, sigma.clone().requires_grad_(learned), bias.requires_grad_()
        torch.library.opcheck(torch.ops.torchdau.narrow.default, (*arguments, [1, 2], [1, 0], 3, "smooth", 4.0, 0.5))
    grad, tensors = torch.randn(2, 3, 8, 3), [t.detach() for t in (x, w.float(), mu.float(), sigma)]
    for needed in itertools.product((False, True), repeat=3):
        options = [1, 2], [1, 0], 3, "smooth", 4.0, 0.5, list(needed)
        torch.library.opcheck(torch.ops.torchdau.narrow_backward.default, (grad, *tensors, *options))


@needs_kernels
def test_a_gradient_of_a_gradient_is_refused():
    x, (w, mu) = images(1, 3, 6, 5).float().requires_grad_(), units(3, 1, 2)
    output = dau_conv2d(x, w.float().requires_grad_(), mu.float(), max_displacement=4, groups=3, algorithm="direct")
    (d_input,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match='algorithm must be "dense"'):
        torch.autograd.grad(d_input.sum(), x)


@needs_kernels
@pytest.mark.parametrize(("n", "c", "side", "stride"), [(8, 96, 56, 1), (8, 64, 64, 2), (8, 960, 4, 1), (1, 4, 8, 1)])
def test_auto_takes_it(n, c, side, stride):
    tensors = torch.empty(n, c, side, side), torch.empty(c, 1, 2), torch.empty(())
    outputs, profile = -(-side // stride), Profile("bilinear", "smooth", 4.0, 0.5)
    assert choose(*tensors, (outputs, outputs), (stride, stride), c, profile) == "direct"
