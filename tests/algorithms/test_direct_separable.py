"""The direct algorithm for units that do not share a Gaussian, against dense in float64."""

import pytest
import torch

from tests.algorithms.libraries import built
from tests.operands import images, units
from torchdau import dau_conv2d

pytestmark = built


@pytest.mark.parametrize("form", [("bilinear", "smooth"), ("bilinear", "exact"), ("gaussian", "smooth")], ids=str)
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize(
    "case",  # N, groups, inputs and outputs of each, H, W, K, stride, padding, bound, largest sigma
    [
        *((2, 2, 2, 3, side, side, 2, stride, 0, 4, 0.5) for side in (1, 7, 16, 33) for stride in (1, 2)),
        (1, 5, 1, 3, 9, 20, 3, 1, 1, 8, 0.8),
        (2, 4, 1, 2, 14, 14, 1, (3, 1), (2, 0), 1, 0.3),
        (2, 3, 1, 1, 12, 12, 2, 1, -2, 4, 1.0),
        (1, 2, 1, 1, 8, 8, 2, 1, 0, 30, 0.5),
        (2, 3, 1, 1, 3, 50, 2, 4, 3, 4, 2.0),
        (2, 1, 3, 16, 20, 21, 2, 2, (0, 3), 0, 0.5),
    ],
    ids=str,
)
def test_units_with_a_gaussian_of_their_own(variant, case, learned, form):
    """A sigma for each unit, or the Gaussian form: few channels in a group."""
    n, groups, i, o, h, w, k, stride, padding, bound, most = case
    x, (weight, mu), bias = images(n, groups * i, h, w), units(groups * o, i, k, bound), images(groups * o)
    sigma = torch.rand(weight.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype) * (most - 0.1) + 0.1
    options = {"stride": stride, "padding": padding, "groups": groups, "max_displacement": bound}
    options |= {"interpolation": form[0], "displacement_gradient": form[1], "max_sigma": most if learned else None}
    results = []
    for algorithm, dtype in (("dense", torch.float64), ("direct", torch.float32)):
        leaves = [t.to(dtype).detach().requires_grad_() for t in (x, weight, mu, bias, *([sigma] if learned else []))]
        output = dau_conv2d(*leaves[:3], leaves[4] if learned else most, leaves[3], algorithm=algorithm, **options)
        results.append([output, *torch.autograd.grad(output, leaves, images(*output.shape, seed=2).to(dtype))])
    for a, b in zip(*results, strict=True):
        assert (b - a).norm() < 2e-6 * a.norm() + 1e-8  # units of the Gaussian form end where float32 has no room
