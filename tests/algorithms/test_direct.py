"""The direct algorithm: its kernels in every library that this processor can run, against dense in float64."""

import pytest
import torch

from tests.algorithms.libraries import built, needs_kernels
from tests.operands import gradients, images, relative, units
from torchdau import dau_conv2d
from torchdau.algorithms.direct import native

pytestmark = built


@pytest.mark.parametrize("gradient", ["smooth", "exact"])
@pytest.mark.parametrize(
    "case",  # N, groups, inputs and outputs of each, H, W, K, stride, padding, bound, sigma
    [
        *(
            (2, 2, 2, 3, side, side, 2, stride, 0, 4, 0.5)
            for side in (1, 2, 7, 15, 16, 17, 33, 65)
            for stride in (1, 2)
        ),
        (1, 5, 1, 3, 9, 33, 3, 1, 1, 8, 0.8),
        (3, 2, 1, 1, 31, 40, 6, 2, 0, 2.5, 0.5),
        (2, 4, 1, 2, 14, 14, 1, (3, 1), (2, 0), 1, 0.3),
        (2, 4, 1, 1, 12, 13, 2, (1, 2), 0, 0, 0.5),
        (2, 3, 1, 1, 12, 12, 2, 1, -2, 4, 1.0),
        (1, 2, 1, 1, 8, 8, 2, 1, 0, 30, 0.5),
        (2, 3, 1, 1, 3, 50, 2, 4, 3, 4, 3.0),
        (2, 1, 3, 16, 20, 21, 2, 2, (0, 3), 4, 0.5),
        (3, 2, 4, 3, 7, 19, 1, (1, 2), 1, 6, 0.8),
        (2, 1, 33, 40, 13, 17, 3, 1, 0, 4, 0.5),
        (2, 1, 20, 24, 8, 8, 2, 2, (1, 2), 4, 0.5),
        (9, 1, 17, 5, 5, 6, 2, 2, -1, 4, 0.5),
        (1, 1, 4, 4, 100, 90, 2, 1, 0, 20, 0.5),
        *((24, 1, 4, 20, 17, 23, 2, stride, 1, 2, 0.5) for stride in (1, 2)),  # tiles in lanes with several parts
        *((2, 9, 1, 1, 9, 20, 2, stride, 0, 4, 0.5) for stride in (1, 2)),  # groups enough to go back in one pass
        (2, 8, 2, 3, 18, 12, 2, 1, -1, 4, 0.8),
        (1, 2, 2, 2, 5, 60, 2, 3, 0, 2, 0.5),  # a stride that begins at another lane in each vector
        (2, 3, 1, 1, 7, 9, 2, 1, 12, 1, 0.5),  # outputs far beyond what units reach from the image
        (1, 2, 3, 2, 20, 20, 1, 1, 0, 4, 14.0),  # a Gaussian too wide for the kernels
    ],
    ids=str,
)
def test_equals_dense(variant, kernel, case, gradient, monkeypatch):
    n, groups, i, o, h, w, k, stride, padding, bound, sigma = case
    x, (weight, mu), bias = images(n, groups * i, h, w), units(groups * o, i, k, bound), images(groups * o)
    if k == 6:  # on pixels, where bilinear interpolation has its corners
        mu = mu.round().clamp(-bound, bound)
    monkeypatch.setattr(native, "PLANES", 1 if h == 33 else native.PLANES)  # image by image
    options = {"stride": stride, "padding": padding, "groups": groups, "displacement_gradient": gradient}
    results = []
    for algorithm, dtype in (("dense", torch.float64), ("direct", torch.float32)):
        leaves = [t.to(dtype).detach().requires_grad_() for t in (x, weight, mu, bias)]
        output = dau_conv2d(*leaves[:3], sigma, leaves[3], max_displacement=bound, algorithm=algorithm, **options)
        up = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        results.append([output.detach(), *torch.autograd.grad(output, leaves, up.to(dtype))])
    for b, a in zip(*results, strict=True):
        assert relative(a, b) < 2e-6 if b.any() else a.abs().max() < 1e-6


def test_a_unit_just_below_a_pixel(variant, kernel):
    """Where the distance to the pixel on the left rounds to 1, and its weight to 0."""
    x, w = images(1, 1, 6, 6).float().requires_grad_(), torch.ones(1, 1, 1)
    for stride in (1, 2):
        for below in (-1e-9, -1e-30, 1 - 2**-24):
            mu = torch.tensor([[[[below, below]]]])
            near, result = (
                dau_conv2d(x, w, place, stride=stride, max_displacement=2, algorithm="direct")
                for place in (mu.round(), mu)
            )
            torch.testing.assert_close(result, near)
            torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x) for y in (result, near)))


@pytest.mark.parametrize("share", [0.3, 0.95, 1.0])
def test_units_that_add_nothing(variant, kernel, share):
    """A pruned layer, whose units of weight 0 are passed over; a bad displacement of one shows all the same."""
    x, (w, mu), bias = images(2, 20, 9, 18), units(10, 20, 3), images(10)
    w[torch.rand(w.shape) < share] = 0
    expected = gradients([x, w, mu, torch.tensor(0.5, dtype=x.dtype), bias], algorithm="dense", max_displacement=4)
    single = [t.float() for t in (x, w, mu)]
    options = {"max_displacement": 4, "algorithm": "direct"}
    for a, b in zip(gradients([*single, torch.tensor(0.5), bias.float()], **options), expected, strict=True):
        assert relative(a, b) < 2e-5 if b.any() else a.abs().max() < 1e-6
    single[1][4, 7, 1], single[2][4, 7, 1, 0] = 0, torch.nan
    output = dau_conv2d(*single, **options)
    assert output[:, 4].isnan().all()
    assert output.isnan().sum() == output[:, 4].numel()


def test_a_bad_displacement_spoils_its_own_outputs_only(variant, kernel):
    x, (w, mu) = images(2, 3, 20, 9).float(), (t.float() for t in units(4, 3, 2))
    clean = dau_conv2d(x, w, mu, max_displacement=4, algorithm="direct")
    mu[2, 1, 0, 1] = torch.nan
    output = dau_conv2d(x, w, mu, max_displacement=4, algorithm="direct")
    assert output[:, 2].isnan().all()
    torch.testing.assert_close(output[:, [0, 1, 3]], clean[:, [0, 1, 3]], rtol=0, atol=0)


@needs_kernels
def test_a_learned_sigma_for_all_units(kernel):
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
@pytest.mark.parametrize("kernel", ["narrow", "lanes"], indirect=True)
def test_any_number_of_threads_gives_the_same_bits(kernel):
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
def test_half_precision(kernel, dtype):
    x, (w, mu) = images(2, 4, 9, 9), units(4, 1, 2)
    rounded = [x.to(dtype), w.to(dtype), mu.float()]
    options = {"groups": 4, "max_displacement": 4}
    expected = gradients([t.double() for t in rounded], algorithm="dense", **options)
    for a, b in zip(gradients(rounded, algorithm="direct", **options), expected, strict=True):
        assert relative(a, b) < torch.finfo(dtype).eps


@needs_kernels
def test_a_unit_that_is_not_a_number_spoils_its_channel(kernel):
    x, (w, mu) = images(1, 3, 6, 6).float(), units(3, 1, 2)
    mu[1, 0, 0, 1] = float("nan")
    output, d_input, *_ = step(x, w.float(), mu.float())
    for result in (output, d_input):
        assert result[:, 1].isnan().all()
        assert result[:, [0, 2]].isfinite().all()


@needs_kernels
def test_no_images_and_no_need(kernel):
    x, (w, mu) = torch.empty(0, 3, 6, 6), units(3, 1, 2)
    output, d_input, *others = step(x, w.float(), mu.float())
    assert output.shape == d_input.shape == (0, 3, 6, 6)
    assert not any(other.any() for other in others)
    x, w, mu = images(1, 3, 6, 6).float().requires_grad_(), w.float(), mu.float()
    frozen = dau_conv2d(x, w, mu, 0.5, max_displacement=4, groups=3, algorithm="direct")
    whole = step(x, w, mu)
    assert torch.equal(torch.autograd.grad(frozen.square().sum(), x)[0], whole[1])


@pytest.mark.parametrize(
    ("shape", "outputs", "stride", "padding", "groups"),
    [
        ((2, 40, 9, 11), 40, 1, 0, 40),
        ((1, 16, 20, 17), 16, (2, 1), (1, -2), 16),
        ((2, 6, 13, 5), 12, 1, 2, 3),
        ((1, 3, 12, 12), 37, 2, 0, 1),
        ((3, 8, 1, 2), 4, 1, 0, 4),
        ((19, 18, 5, 4), 33, 1, 0, 1),  # tiles in lanes of many images
        ((3, 34, 23, 50), 10, 2, 1, 2),  # and of two, one of which begins in the middle of the lanes
        ((2, 3, 90, 41), 5, 1, 0, 1),  # some rows of an image
    ],
    ids=str,
)
def test_layouts_of_memory(variant, kernel, shape, outputs, stride, padding, groups):
    """Images in channels_last give the same result, in their layout."""
    x, (w, mu), bias = images(*shape).float(), units(outputs, shape[1] // groups, 2), images(outputs).float()
    options = {"stride": stride, "padding": padding, "groups": groups, "max_displacement": 4, "algorithm": "direct"}
    results = []
    for order in (torch.contiguous_format, torch.channels_last):
        leaves = [t.requires_grad_() for t in (x.clone(memory_format=order), w.float(), mu.float(), bias)]
        output = dau_conv2d(*leaves[:3], 0.5, leaves[3], **options)
        results.append([output, *torch.autograd.grad(output, leaves, images(*output.shape).float())])
        assert all(t.is_contiguous(memory_format=order) for t in results[-1][:2])
    for a, b in zip(results[0][:-1], results[1][:-1], strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(results[0][-1], results[1][-1])  # the sum for the bias is PyTorch's
