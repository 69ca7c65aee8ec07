"""The dense algorithm where libraries of convolutions fail."""

import pytest
import torch

from torchdau import DAUConv2d


@pytest.mark.parametrize("size", [(16, 2), (12, 6), (20, 5), (10, 1), (2, 16)])
def test_kernels_that_reach_over_high_and_narrow_images(size):
    """oneDNN 3.13 gives wrong weight gradients there, or none, if it pads the image itself."""
    torch.manual_seed(0)
    layer = DAUConv2d(17, 2, num_units=4, max_displacement=20, algorithm="dense")
    images = torch.randn(2, 17, *size)
    layer(images).square().sum().backward()
    found = [parameter.grad for parameter in layer.parameters()]
    layer.double().zero_grad()
    layer(images.double()).square().sum().backward()
    for gradient, parameter in zip(found, layer.parameters(), strict=True):
        torch.testing.assert_close(gradient.double(), parameter.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_unit_for_one_output_in_channels_last(dtype):
    layer = DAUConv2d(20, 1, num_units=1, dtype=dtype, algorithm="dense")
    images = torch.randn(2, 20, 9, 9, dtype=dtype)
    gradients = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        layer.zero_grad()
        layer(images.contiguous(memory_format=memory_format)).square().sum().backward()
        gradients.append(layer.weight.grad)
    torch.testing.assert_close(*gradients)
