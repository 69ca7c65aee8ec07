"""Units that come close to trained kernels, and to what is known to be units."""

import torch
from torch import nn

from torchdau import DAUConv2d, convert_, fold_


@torch.no_grad()
def test_fit_comes_close():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, padding=1)
    x = torch.randn(2, 8, 12, 12)
    errors = []
    for units in (1, 2, 4, 8, 9, 12):
        model = convert_(nn.Sequential(conv), units, init="fit")
        errors.append(float((model(x) - conv(x)).norm() / conv(x).norm()))
    assert errors[:5] == sorted(errors[:5], reverse=True)
    assert errors[5] < 1.01 * errors[4]  # spare units have nothing to add
    assert errors[0] < 0.8
    assert errors[4] < 0.15


def test_fit_finds_units():
    """A kernel that is a unit is found again, place and weight."""
    layer = DAUConv2d(3, 4, num_units=1, max_displacement=1, sigma=0.3, dtype=torch.float64)
    with torch.no_grad():
        layer.displacement.uniform_(-0.9, 0.9)
    model = convert_(fold_(nn.Sequential(layer)), 1, init="fit", sigma=0.3)
    assert (model[0].displacement - layer.displacement).abs().max() < 0.05
    torch.testing.assert_close(model[0].weight, layer.weight, rtol=0.1, atol=0.01)
