"""The operator: laws that need no oracle, then every algorithm against the reference."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.operands import ALGORITHMS, F64, gradients, images, relative, units
from torchdau import dau_conv2d

ALL = ("reference", *ALGORITHMS)


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


@pytest.mark.parametrize("algorithm", ALGORITHMS)
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


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_integer_displacement_is_a_shift_of_the_blurred_image(algorithm):
    x = images(1, 1, 8, 8)
    w = torch.ones(1, 1, 1, dtype=F64)
    here = dau_conv2d(x, w, torch.zeros(1, 1, 1, 2, dtype=F64), padding=3, algorithm=algorithm)
    there = dau_conv2d(x, w, torch.tensor([[[[2.0, -1.0]]]], dtype=F64), padding=3, algorithm=algorithm)
    torch.testing.assert_close(there[..., :-2, 1:], here[..., 2:, :-1])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("sides", [((2, 0), (0, 3)), ((-1, 2), (1, -4)), ((-2, -2), (-1, -3))], ids=str)
def test_padding_of_each_side_takes_a_piece_of_the_outputs(algorithm, stride, sides):
    x, (w, mu) = images(2, 3, 9, 11), units(4, 3, 2)
    (top, bottom), (left, right) = sides
    whole = dau_conv2d(x, w, mu, padding=4, algorithm=algorithm)
    expected = whole[..., 4 - top : 13 + bottom : stride, 4 - left : 15 + right : stride]
    got = dau_conv2d(x, w, mu, padding=sides, stride=stride, algorithm=algorithm)
    torch.testing.assert_close(got, expected)


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
    for algorithm in ALGORITHMS:
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


SHAPES = given(
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


@settings(max_examples=40, deadline=None, derandomize=True)
@SHAPES
def test_any_shape(**drawn):
    check_shape("spectral", **drawn)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["spectral", "auto"])
@settings(max_examples=5000, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
@SHAPES
def test_ten_thousand_shapes(algorithm, **drawn):
    check_shape(algorithm, **drawn)


def check_shape(algorithm, n, groups, o, i, k, height, width, stride, padding, bound, sigma):
    x, (w, mu) = images(n, groups * i, height, width), units(groups * o, i, k, bound)
    options = {"sigma": sigma, "stride": stride, "padding": padding, "groups": groups, "max_displacement": bound}
    expected = gradients([x, w, mu], algorithm="dense", **options)
    got = gradients([x, w, mu], algorithm=algorithm, **options)
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


@pytest.mark.parametrize("algorithm", ALGORITHMS)
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
