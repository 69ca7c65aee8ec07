"""Effective receptive fields that can be computed by hand."""

import math

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d
from torchdau.analysis import receptive_field


def ones(count=1, padding=1):
    layers = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=padding, bias=False) for _ in range(count)])
    for layer in layers:
        nn.init.ones_(layer.weight)
    return layers


def test_a_convolution_of_ones():
    field = receptive_field(ones(), "0", torch.randn(2, 1, 9, 9))
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[3:6, 3:6] = 1 / 9
    torch.testing.assert_close(field.influence, expected)
    assert field.centre == pytest.approx((4, 4))
    assert [field.area(share) for share in (0.1, 1 / 9, 0.5, 0.999)] == [1, 1, 5, 9]
    assert [field.radius(share) for share in (0.1, 0.5, 5 / 9, 0.999)] == pytest.approx([0, 1, 1, math.sqrt(2)])
    assert (field.held > 1 + 1e-9).sum() == 0


def test_two_convolutions_in_a_row():
    """Of ones: a pyramid, 1 2 3 2 1 along each axis."""
    field = receptive_field(ones(2), "1", torch.randn(1, 1, 11, 11))
    line = torch.tensor([1.0, 2, 3, 2, 1], dtype=torch.float64) / 9
    torch.testing.assert_close(field.influence[3:8, 3:8], line[:, None] * line)
    assert field.held[5, 5].item() == pytest.approx(1 / 9)
    first = receptive_field(ones(2), "0", torch.randn(1, 1, 11, 11))
    assert first.area(0.999) == 9


def test_units_are_seen_where_they_stand():
    layer = DAUConv2d(1, 1, num_units=1, sigma=0.3)
    with torch.no_grad():
        layer.displacement.copy_(torch.tensor([2.0, -3.0]))
    field = receptive_field(layer, "", torch.randn(1, 1, 21, 21))
    assert field.centre == pytest.approx((12, 7), abs=1e-6)
    kernel = layer.kernel()[0, 0].abs().double().detach()
    reach = layer.profile.last
    torch.testing.assert_close(
        field.influence[10 - reach : 11 + reach, 10 - reach : 11 + reach], kernel / kernel.sum(), atol=1e-6, rtol=0
    )


def test_what_nothing_reads_is_nothing():
    """Also where the spectral algorithm computes: exact zeros would be noise in float32."""
    model = nn.Sequential(DAUConv2d(16, 16, num_units=2, algorithm="spectral"))
    field = receptive_field(model, "0", torch.randn(1, 16, 64, 64))
    reach = model[0].profile.reach + 1
    outside = field.influence.clone()
    outside[32 - reach : 33 + reach, 32 - reach : 33 + reach] = 0
    assert outside.sum() < 1e-10


def test_channels_are_averaged():
    """Two channels, which see the pixel to the left and the pixel to the right; the sign does not matter."""
    layer = nn.Conv2d(1, 2, (1, 3), padding=(0, 1), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, -3.0]]).view(2, 1, 1, 3))
    field = receptive_field(layer, "", torch.randn(1, 1, 5, 5))
    assert field.influence[2].tolist() == pytest.approx([0, 0.25, 0, 0.75, 0])
    assert receptive_field(layer, "", torch.randn(1, 1, 5, 5), max_channels=1).influence[2, 1].item() == 1


def test_influences_of_opposite_signs_do_not_cancel():
    layer = nn.Conv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
    assert receptive_field(layer, "", torch.randn(1, 2, 5, 5)).influence[2, 2].item() == 1


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(1, 1, 8, 8)
    receptive_field(model, "1", images)
    assert (model.training, model[1].training, images.requires_grad) == (True, False, False)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())
    assert all(p.grad is None for p in model.parameters())


def test_what_has_no_receptive_field():
    model = nn.Sequential(ones(), nn.Flatten(), nn.Linear(81, 2))
    images = torch.randn(1, 1, 9, 9)
    with pytest.raises(ValueError, match=r"layer must be the name of a layer .*, such as '0', '0.0', .* got layer='5'"):
        receptive_field(model, "5", images)
    with pytest.raises(ValueError, match=r"layer must have an output \(N, C, H, W\), got \(1, 2\) for layer='2'"):
        receptive_field(model, "2", images)
    with pytest.raises(ValueError, match="max_channels must be at least 1, got max_channels=0"):
        receptive_field(model, "0", images, max_channels=0)
    nn.init.zeros_(model[0][0].weight)
    with pytest.raises(ValueError, match="layer must depend on the images, got no gradient for layer='0'"):
        receptive_field(model, "0", images)
    field = receptive_field(ones(), "0", images)
    with pytest.raises(ValueError, match="share must be above 0 and below 1, got share=1"):
        field.area(1)


def test_what_follows_a_layer_may_change_its_output_in_place():
    torch.manual_seed(0)
    images, (conv,) = torch.randn(1, 1, 9, 9), ones()
    nn.init.constant_(conv.weight, -1)
    fields = [receptive_field(nn.Sequential(conv, nn.ReLU(inplace)), "0", images.abs()) for inplace in (False, True)]
    assert torch.equal(fields[0].influence, fields[1].influence)
