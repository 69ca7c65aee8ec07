import math

import pytest
import torch

from torchdau.bounds import bounded
from torchdau.profile import Profile

G1 = math.exp(-2)  # sigma 0.5: exp(-1 / (2 * 0.25))
G2 = math.exp(-8)
SUM = 1 + 2 * G1 + 2 * G2
F64 = torch.float64


def profile(interpolation="bilinear", gradient="smooth", max_displacement=1.0, max_sigma=0.5):
    return Profile(interpolation, gradient, max_displacement, max_sigma)


def tensor(value):
    return torch.tensor(value, dtype=F64)


def test_window_holds_the_bound_and_three_sigma():
    assert (profile(max_displacement=4.0).first, profile(max_displacement=4.0).last) == (-6, 6)
    assert profile(max_displacement=3.2, max_sigma=0.7).reach == 4 + 3
    assert profile(gradient="exact", max_displacement=4.0).last == 7  # the derivative at the bound has a sample there


def test_bilinear_samples_by_hand():
    got = profile().value(tensor(0.25), tensor(0.5))
    g = [0, G2, G1, 1, G1, G2, 0]  # G at -3..3, so that g(q) = 0.75 G(q) + 0.25 G(q - 1)
    expected = [(0.75 * g[j] + 0.25 * (g[j - 1] if j else 0)) / SUM for j in range(7)]
    torch.testing.assert_close(got, tensor(expected))


def test_gaussian_samples_by_hand():
    got = profile("gaussian").value(tensor(0.25), tensor(0.5))
    g = [math.exp(-((q - 0.25) ** 2) / 0.5) for q in range(-3, 4)]
    torch.testing.assert_close(got, tensor(g) / sum(g))


@pytest.mark.parametrize("mu", [-1.0, -0.3, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "gaussian"])
def test_samples_sum_to_one(interpolation, mu):
    total = profile(interpolation).value(tensor(mu), tensor(0.5)).sum()
    torch.testing.assert_close(total, tensor(1.0))


def test_smooth_derivative_is_the_formula():
    mu, sigma = 0.25, 0.5
    got = profile().displacement_derivative(tensor(mu), tensor(sigma))
    g = {j: math.exp(-(j**2) / 0.5) / SUM for j in range(-2, 3)}
    slope = {j: g[j] * j / sigma**2 for j in g}  # G'(q) = G(q) q / sigma^2
    expected = [0.75 * slope.get(q, 0) + 0.25 * slope.get(q - 1, 0) for q in range(-3, 4)]
    torch.testing.assert_close(got, tensor(expected))


@pytest.mark.parametrize("mu", [-1.0, 0.0, 0.25, 1.0])
def test_exact_derivative_is_a_difference_of_gaussians(mu):
    p = profile(gradient="exact")
    got = p.displacement_derivative(tensor(mu), tensor(0.5))
    g = {j: math.exp(-(j**2) / 0.5) / SUM for j in range(-2, 3)}
    floor = math.floor(mu)
    expected = [g.get(q - floor - 1, 0) - g.get(q - floor, 0) for q in range(p.first, p.last + 1)]
    torch.testing.assert_close(got, tensor(expected), atol=1e-15, rtol=1e-12)


@pytest.mark.parametrize("per_unit", [False, True])
@pytest.mark.parametrize(("interpolation", "gradient"), [("bilinear", "exact"), ("gaussian", "smooth")])
def test_gradcheck(interpolation, gradient, per_unit):
    mu = tensor([-0.9, -0.3, 0.2, 0.7]).requires_grad_()
    sigma = (tensor([0.3, 0.4, 0.5, 0.45]) if per_unit else tensor(0.4)).requires_grad_()
    p = profile(interpolation, gradient)
    assert torch.autograd.gradcheck(p.value, (mu, sigma))
    assert torch.autograd.gradgradcheck(p.value, (mu, sigma))


@pytest.mark.parametrize("interpolation", ["bilinear", "gaussian"])
def test_one_sigma_for_all_is_that_sigma_for_each(interpolation):
    mu = torch.linspace(-1, 1, 9, dtype=F64)
    p = profile(interpolation)
    torch.testing.assert_close(p.value(mu, tensor(0.4)), p.value(mu, torch.full_like(mu, 0.4)))
    torch.testing.assert_close(
        p.sigma_derivative(mu, tensor(0.4)),
        p.sigma_derivative(mu, torch.full_like(mu, 0.4)),
        atol=1e-14,
        rtol=1e-12,
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "gaussian"])
def test_narrow_gaussian_is_one_pixel(interpolation):
    got = profile(interpolation, max_sigma=0.01).value(tensor(1.0), tensor(0.01))
    torch.testing.assert_close(got, tensor([0.0, 0.0, 0.0, 1.0, 0.0]))


def test_values_within_their_bounds_are_not_copied():
    values = tensor([-4.0, 0.5, 4.0])
    assert bounded(values, -4, 4) is values
    assert bounded(values, -3.9, 4) is not values
    empty = values[:0]
    assert bounded(empty, -4, 4).shape == (0,)


def test_bounded_clips_and_lets_the_gradient_through():
    values = tensor([-9.0, 1e30, 0.5, math.inf, -math.inf, math.nan]).requires_grad_()
    clipped = bounded(values, -4, 4)
    torch.testing.assert_close(clipped.detach(), tensor([-4, 4, 0.5, math.nan, math.nan, math.nan]), equal_nan=True)
    clipped[:3].sum().backward()
    torch.testing.assert_close(values.grad[:3], torch.ones(3, dtype=F64))
