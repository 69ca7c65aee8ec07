"""Tensors that a forward pass keeps for the backward pass: activation checkpointing and hooks."""

import pytest
import timm
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from torchdau import DAUConv2d, convert_, kernels

ALGORITHMS = ["auto", "dense", "spectral", "direct"]


def skip_without_kernels(algorithm):
    if algorithm == "direct" and not kernels.available():
        pytest.skip("direct needs native kernels")


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_activation_checkpointing(algorithm, reentrant):
    skip_without_kernels(algorithm)
    torch.manual_seed(0)
    layer, images = DAUConv2d(16, 24, algorithm=algorithm), torch.randn(2, 16, 12, 12, requires_grad=True)
    expected = torch.autograd.grad(layer(images).square().sum(), [images, *layer.parameters()])
    checkpoint(layer, images, use_reentrant=reentrant).square().sum().backward()
    for tensor, gradient in zip([images, *layer.parameters()], expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient)


def test_activation_checkpointing_of_a_converted_network():
    model = convert_(timm.create_model("resnet10t", num_classes=3))
    model.set_grad_checkpointing(True)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("algorithm", ["spectral", "direct"])
def test_saved_tensors_are_unpacked_once(algorithm):
    skip_without_kernels(algorithm)
    unpacked, packed = [], []

    def pack(tensor):
        packed.append(tensor)
        return tensor

    def unpack(tensor):
        unpacked.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, unpack):
        output = DAUConv2d(16, 16, algorithm=algorithm)(torch.randn(1, 16, 8, 8))
    output.sum().backward()
    assert len(unpacked) == len(packed) > 0
