"""SRN-DeblurNet: its scales, and what flows between them."""

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d
from torchdau.models import dau_srn_deblurnet, srn_deblurnet
from torchdau.models.srn_deblur import ResidualBlock

WIDTHS = (4, 8, 16)


@pytest.mark.parametrize("make", [srn_deblurnet, dau_srn_deblurnet])
def test_three_scales_with_the_same_weights(make):
    torch.manual_seed(0)
    network = make(widths=WIDTHS)
    sharp = network(torch.rand(2, 3, 64, 96))
    assert [tuple(image.shape) for image in sharp] == [(2, 3, 16, 24), (2, 3, 32, 48), (2, 3, 64, 96)]
    assert len([m for m in network.modules() if isinstance(m, ResidualBlock)]) == 18
    sharp[-1].sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("make", [srn_deblurnet, dau_srn_deblurnet])
def test_a_residual_network_starts_with_the_blurred_image(make):
    blurred = torch.rand(1, 3, 32, 48)
    network = make(widths=WIDTHS, residual=True)
    assert torch.equal(network(blurred)[-1], blurred)
    torch.nn.init.ones_(network.decoder[2][3].bias)
    torch.testing.assert_close(network(blurred)[-1], blurred + 1)


def test_no_gradient_flows_from_scale_to_scale():
    network = srn_deblurnet(WIDTHS)
    first, second, third = network(torch.rand(1, 3, 32, 32))
    assert torch.autograd.grad(third.sum(), (first, second), allow_unused=True) == (None, None)


def test_a_scale_sees_what_the_one_before_made():
    torch.manual_seed(0)
    network = srn_deblurnet(WIDTHS)
    blurred = torch.rand(1, 3, 32, 32)
    before = network(blurred)
    seen = []
    network.encoder[0][0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(blurred)
    small = nn.functional.interpolate(blurred, scale_factor=0.25, mode="bilinear")
    torch.testing.assert_close(seen[0], torch.cat([small, small], 1))  # the first one sees the blurred image twice
    torch.testing.assert_close(seen[2][:, :3], blurred)
    larger = nn.functional.interpolate(before[1], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(seen[2][:, 3:], larger)


def test_which_layers_are_units():
    network = dau_srn_deblurnet()
    layers = [module for module in network.modules() if isinstance(module, DAUConv2d)]
    assert len(layers) == 38
    assert [layer.stride for layer in layers].count((2, 2)) == 2
    assert {layer.sigma for layer in layers} == {0.35}
    assert torch.cat([layer.displacement.flatten() for layer in layers]).std().item() == pytest.approx(0.5, abs=0.01)
    kept = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels) for m in kept] == [(6, 32), (128, 64), (64, 32), (32, 3)]


def test_a_residual_block_adds():
    block = ResidualBlock(lambda inputs, outputs, stride: nn.Conv2d(inputs, outputs, 1), 4)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(block(x), x)


def test_sizes_that_do_not_halve():
    with pytest.raises(ValueError, match=r"blurred must have sides that are multiples of 16 .*\(1, 3, 40, 48\)"):
        srn_deblurnet(WIDTHS)(torch.rand(1, 3, 40, 48))
