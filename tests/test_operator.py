"""The operator: laws that need no oracle, then every algorithm against the reference."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from torchdau import dau_conv2d
from torchdau.algorithms import CHOICES
from torchdau.algorithms import spectral as spectral_module

F64 = torch.float64
ALL = ("reference", *CHOICES)


def units(o, i, k, bound=4.0, dtype=F64, seed=0, integer=True):
    """Weight and displacement; two of the displacements on an integer and on the bound."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(o, i, k, dtype=dtype, generator=generator)
    displacement = (torch.rand(o, i, k, 2, dtype=dtype, generator=generator) * 2 - 1) * bound
    if integer:
        displacement[0, 0, 0] = torch.tensor([bound, -bound])
        displacement[-1, -1, -1, 0] = -1.0
    return weight, displacement


def images(*shape, dtype=F64, seed=1):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def relative(got, expected):
    return ((got.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-300)).item()


def gradients(inputs, **options):
    """The output and the gradients of all inputs, for one and the same gradient of the output."""
    leaves = [t.clone().requires_grad_() for t in inputs]
    output = dau_conv2d(*leaves, **options)
    upstream = images(*output.shape, seed=2).to(output.dtype)
    grads = torch.autograd.grad(output, leaves, upstream, allow_unused=True)
    return [output.detach(), *grads]


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("interpolation", ["bilinear", "gaussian"])
def test_sign_and_axis_order(algorithm, interpolation):
    image = torch.zeros(1, 1, 5, 5, dtype=F64)
    image[0, 0, 3, 1] = 7.0
    displacement = torch.tensor([[[[1.0, -1.0]]]], dtype=F64)  # one down, one to the left
    weight = torch.full((1, 1, 1), 2.0, dtype=F64)
    output = dau_conv2d(image, weight, displacement, 0.05, interpolation=interpolation, algorithm=algorithm)
    expected = torch.zeros(1, 1, 5, 5, dtype=F64)
    expected[0, 0, 2, 2] = 14.0  # (2, 2) reads (3, 1)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("algorithm", ALL)
def test_three_by_three_by_hand(algorithm):
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], dtype=F64)[None, None]
    displacement = torch.tensor([[[[0.0, 0.25]]]], dtype=F64)
    output = dau_conv2d(image, torch.ones(1, 1, 1, dtype=F64), displacement, 0.05, algorithm=algorithm)
    expected = torch.tensor([[1.25, 2.25, 2.25], [4.25, 5.25, 4.5], [7.25, 8.25, 6.75]], dtype=F64)
    torch.testing.assert_close(output[0, 0], expected)


@pytest.mark.parametrize("algorithm", CHOICES)
def test_laws(algorithm):
    x, (w, mu) = images(2, 3, 9, 12), units(4, 3, 3)

    def run(x=x, w=w, mu=mu):
        return dau_conv2d(x, w, mu, 0.6, max_displacement=4.0, algorithm=algorithm)

    y = run()
    order = [2, 0, 1]
    torch.testing.assert_close(run(w=w[:, :, order], mu=mu[:, :, order]), y)
    torch.testing.assert_close(run(w=-3 * w), -3 * y)
    doubled = torch.cat([0.25 * w, 0.75 * w], 2), torch.cat([mu, mu], 2)
    torch.testing.assert_close(run(w=doubled[0], mu=doubled[1]), y)
    torch.testing.assert_close(run(x=x.flip(2, 3), mu=-mu).flip(2, 3), y)
    torch.testing.assert_close(run(x=x.mT.contiguous(), mu=mu.flip(-1)).mT, y)
    inside = F.pad(x, (20, 20, 20, 20))
    moved = torch.roll(inside, (3, -2), (2, 3))
    torch.testing.assert_close(torch.roll(run(x=inside), (3, -2), (2, 3)), run(x=moved))


@pytest.mark.parametrize("algorithm", CHOICES)
def test_integer_displacement_is_a_shift_of_the_blurred_image(algorithm):
    x = images(1, 1, 8, 8)
    w = torch.ones(1, 1, 1, dtype=F64)
    here = dau_conv2d(x, w, torch.zeros(1, 1, 1, 2, dtype=F64), padding=3, algorithm=algorithm)
    there = dau_conv2d(x, w, torch.tensor([[[[2.0, -1.0]]]], dtype=F64), padding=3, algorithm=algorithm)
    torch.testing.assert_close(there[..., :-2, 1:], here[..., 2:, :-1])


SIZES = [(7, 7), (1, 1), (1, 9), (13, 8), (3, 65), (33, 2)]
LAYERS = [
    # groups, O, I of a group, K, stride, padding
    (1, 2, 3, 2, 1, 0),
    (1, 3, 1, 1, 2, 1),
    (2, 4, 2, 3, (1, 2), (2, 0)),
    (3, 3, 1, 6, (3, 1), 0),
    (1, 1, 2, 4, 1, (0, 3)),
]
FORMS = [("bilinear", "smooth"), ("bilinear", "exact"), ("gaussian", "smooth")]


@pytest.mark.parametrize("learned", [False, True], ids=["shared", "learned"])
@pytest.mark.parametrize(("interpolation", "gradient"), FORMS)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_algorithms_equal_the_reference(size, layer, interpolation, gradient, learned):
    groups, o, i, k, stride, padding = layer
    bound = 2.0
    x = images(2, groups * i, *size)
    w, mu = units(o, i, k, bound)
    sigma = torch.rand(o, i, k, dtype=F64, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.3
    inputs = [x, w, mu, sigma if learned else torch.tensor(0.4, dtype=F64), images(o, seed=4)]
    options = {
        "stride": stride,
        "padding": padding,
        "groups": groups,
        "max_displacement": bound,
        "max_sigma": 0.8,
        "interpolation": interpolation,
        "displacement_gradient": gradient,
    }
    expected = gradients(inputs, algorithm="reference", **options)
    for algorithm in CHOICES:
        got = gradients(inputs, algorithm=algorithm, **options)
        for name, a, b in zip(
            ("output", "input", "weight", "displacement", "sigma", "bias"), got, expected, strict=True
        ):
            if b.norm() < 1e-12:  # such as the gradient of a displacement along an axis of one pixel
                torch.testing.assert_close(a, b, atol=1e-12, rtol=0, msg=f"{algorithm}: {name}")
            else:
                assert relative(a, b) < 1e-10, (algorithm, name)
        for edge in (-1, 0):
            torch.testing.assert_close(got[0][..., edge, :], expected[0][..., edge, :], atol=1e-10, rtol=1e-10)
            torch.testing.assert_close(got[1][..., edge], expected[1][..., edge], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("size", [(64, 64), (65, 31), (63, 128), (8, 200)], ids=str)
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), ((3, 1), (0, 5))])
def test_tiles_equal_dense(monkeypatch, size, stride, padding):
    """Every way of cutting: tiles on both axes, pieces of images, of rows of tiles and of output channels."""
    x, (w, mu) = images(3, 4, *size), units(6, 2, 2)
    options = {"stride": stride, "padding": padding, "groups": 2, "displacement_gradient": "exact"}
    expected = gradients([x, w, mu], algorithm="dense", **options)
    monkeypatch.setattr(spectral_module, "_cost", lambda *args: -args[-2].inputs.count - args[-1].inputs.count)
    for workspace in (1, 200_000, 1 << 30):
        monkeypatch.setattr(spectral_module, "IMAGE_WORKSPACE", workspace)
        monkeypatch.setattr(spectral_module, "UNIT_WORKSPACE", workspace)
        spectral_module._plan.cache_clear()
        got = gradients([x, w, mu], algorithm="spectral", **options)
        for a, b in zip(got, expected, strict=True):
            assert relative(a, b) < 1e-12
    spectral_module._plan.cache_clear()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 3),
    groups=st.integers(1, 3),
    o=st.integers(1, 4),
    i=st.integers(1, 3),
    k=st.integers(1, 4),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    stride=st.integers(1, 4),
    padding=st.integers(0, 9),
    bound=st.sampled_from([0.0, 0.5, 3.0, 4.0, 17.3]),
    sigma=st.sampled_from([0.1, 0.35, 0.5, 2.0]),
)
def test_any_shape(n, groups, o, i, k, height, width, stride, padding, bound, sigma):
    x, (w, mu) = images(n, groups * i, height, width), units(groups * o, i, k, bound)
    options = {"sigma": sigma, "stride": stride, "padding": padding, "groups": groups, "max_displacement": bound}
    expected = gradients([x, w, mu], algorithm="dense", **options)
    got = gradients([x, w, mu], algorithm="spectral", **options)
    assert got[0].shape == (
        n,
        groups * o,
        (height + 2 * padding - 1) // stride + 1,
        (width + 2 * padding - 1) // stride + 1,
    )
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("interpolation", "gradient"), [("bilinear", "exact"), ("gaussian", "smooth")])
@pytest.mark.parametrize("learned", [False, True], ids=["shared", "learned"])
@pytest.mark.parametrize("algorithm", ALL)
def test_gradcheck(algorithm, learned, interpolation, gradient):
    x, (w, mu) = images(1, 2, 4, 5), units(2, 2, 2, 1.4, integer=False)
    sigma = torch.rand(w.shape, dtype=F64) * 0.3 + 0.4 if learned else torch.tensor(0.5, dtype=F64)
    leaves = [t.requires_grad_() for t in (x, w, mu, sigma)]

    def run(x, w, mu, sigma):
        return dau_conv2d(
            x,
            w,
            mu,
            sigma,
            max_displacement=2,
            max_sigma=1.0,
            interpolation=interpolation,
            displacement_gradient=gradient,
            algorithm=algorithm,
        )

    assert torch.autograd.gradcheck(run, leaves)
    if algorithm == "dense":
        assert torch.autograd.gradgradcheck(run, leaves)


@pytest.mark.parametrize("algorithm", CHOICES)
def test_smooth_gradient_is_the_formula(algorithm):
    """dy/dmu_x = w g(qy; mu_y) d(qx; mu_x) with G'(q) = G(q) q / sigma^2, equation (16)."""
    sigma, x, (w, mu) = 0.5, images(1, 1, 9, 9), units(1, 1, 1, 2.0, integer=False)
    q = torch.arange(-5, 6, dtype=F64)

    def gaussian(q):
        return torch.exp(-(q**2) / (2 * sigma**2)) * (q.abs() <= 2)

    def slope(q):
        return gaussian(q) * q / sigma**2

    def shifted(f, m):
        a, floor = m - math.floor(m), math.floor(m)
        total = gaussian(torch.arange(-2, 3, dtype=F64)).sum()
        return ((1 - a) * f(q - floor) + a * f(q - floor - 1)) / total

    y, xx = mu[0, 0, 0].tolist()
    kernels = [
        torch.outer(shifted(slope, y), shifted(gaussian, xx)),
        torch.outer(shifted(gaussian, y), shifted(slope, xx)),
    ]
    leaf = mu.clone().requires_grad_()
    output = dau_conv2d(x, w, leaf, sigma, max_displacement=2, algorithm=algorithm)
    upstream = images(*output.shape, seed=2)
    (got,) = torch.autograd.grad(output, leaf, upstream)
    expected = [(w[0, 0, 0] * F.conv2d(x, k[None, None], padding=5) * upstream).sum() for k in kernels]
    torch.testing.assert_close(got[0, 0, 0], torch.stack(expected))


@pytest.mark.parametrize("shape", [(4, 16, 24, 20, 20, 2), (2, 32, 32, 7, 9, 4), (1, 8, 8, 90, 70, 1)])
@pytest.mark.parametrize("algorithm", CHOICES)
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
            assert relative(a, b) <= 2 * relative(c, b)


def test_half_precision_sums_in_pieces(monkeypatch):
    """Gradients of half-precision parameters are summed over pieces of images in float32."""
    x, (w, mu) = images(32, 4, 24, 24), units(4, 4, 2)
    rounded = [x.bfloat16(), w.bfloat16(), mu.float()]
    truth = gradients([t.double() for t in rounded], algorithm="dense")
    monkeypatch.setattr(spectral_module, "IMAGE_WORKSPACE", 1)
    got = gradients(rounded, algorithm="spectral")
    for a, b in zip(got, truth, strict=True):
        assert relative(a, b) < 2**-8


def test_inference_mode_leaves_nothing_behind():
    x, (w, mu) = images(2, 4, 24, 24), units(4, 4, 2)
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


@pytest.mark.parametrize("algorithm", CHOICES)
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


@pytest.mark.parametrize("algorithm", CHOICES)
def test_only_what_is_asked_for_is_differentiated(algorithm):
    tensors = [images(1, 2, 6, 6), *units(3, 2, 2)]
    expected = gradients(tensors, algorithm="dense")
    for wanted in range(3):
        leaves = [t.clone().requires_grad_(number == wanted) for number, t in enumerate(tensors)]
        output = dau_conv2d(*leaves, algorithm=algorithm)
        output.backward(images(*output.shape, seed=2))
        torch.testing.assert_close(leaves[wanted].grad, expected[wanted + 1])


@pytest.mark.parametrize("algorithm", CHOICES)
def test_autocast_keeps_displacements_precise(algorithm):
    x, (w, mu) = images(2, 4, 8, 8, dtype=torch.float32), units(4, 4, 2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = dau_conv2d(x, w, mu, algorithm=algorithm)
    assert output.dtype == torch.bfloat16
    expected = dau_conv2d(x.bfloat16(), w.bfloat16(), mu, algorithm=algorithm)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("interpolation", ["bilinear", "gaussian"])
@pytest.mark.parametrize("algorithm", CHOICES)
def test_a_bad_displacement_spoils_its_own_outputs_only(algorithm, interpolation, bad):
    x, (w, mu) = images(2, 3, 40, 9), units(4, 3, 2)
    clean = dau_conv2d(x, w, mu, max_displacement=4, interpolation=interpolation, algorithm=algorithm)
    mu[2, 1, 0, 1] = bad
    output = dau_conv2d(x, w, mu, max_displacement=4, interpolation=interpolation, algorithm=algorithm)
    assert output[:, 2].isnan().all()
    others = [0, 1, 3]
    torch.testing.assert_close(output[:, others], clean[:, others])


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
