"""torch.func and forward-mode differentiation, through the algorithms that can."""

import pytest
import torch
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

from tests.operands import F64, images, units
from torchdau import DAUConv2d, dau_conv2d

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, in forward mode


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return DAUConv2d(16, 24, learn_sigma=True, displacement_gradient="exact", dtype=F64)  # in training mode


def detached(layer):
    return {name: value.detach() for name, value in layer.named_parameters()}


def test_gradients_per_sample_add_up(layer):
    x = images(3, 16, 20, 20)

    def loss(parameters, x):
        return functional_call(layer, parameters, (x[None],)).square().sum()

    samples = vmap(grad(loss), (None, 0))(detached(layer), x)
    layer(x).square().sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(samples[name].sum(0), parameter.grad)


def test_an_ensemble(layer):
    x = images(2, 16, 20, 20)
    members = [detached(DAUConv2d(16, 24, learn_sigma=True, dtype=F64)) for _ in range(3)]
    stacked = {name: torch.stack([member[name] for member in members]) for name in members[0]}
    got = vmap(lambda parameters: functional_call(layer, parameters, (x,)))(stacked)
    for output, member in zip(got, members, strict=True):
        torch.testing.assert_close(output, functional_call(layer, member, (x,)))


@pytest.mark.parametrize("interpolation", ["bilinear", "gaussian"])
def test_forward_mode_equals_reverse_mode_in_images_and_weights(interpolation):
    x, (w, mu) = images(1, 2, 4, 3), units(2, 2, 1, integer=False)
    inputs = x, w, mu, torch.full((2, 2, 1), 0.4, dtype=F64)

    def function(*inputs):
        return dau_conv2d(
            *inputs, max_displacement=4.0, max_sigma=0.5, interpolation=interpolation, displacement_gradient="exact"
        )

    numbers = 0, 1
    for forward, reverse in zip(jacfwd(function, numbers)(*inputs), jacrev(function, numbers)(*inputs), strict=True):
        torch.testing.assert_close(forward, reverse)


def test_spectral_refuses_what_it_cannot_do():
    x, (w, mu) = images(1, 2, 6, 6), units(2, 2, 1)

    def function(x):
        return dau_conv2d(x, w, mu, max_displacement=4, algorithm="spectral")

    message = 'algorithm must be "dense" or "auto" for torch.func and for forward-mode differentiation'
    for transformed in (lambda: vmap(function)(x[None]), lambda: jvp(function, (x,), (x,))):
        with pytest.raises(NotImplementedError, match=message):
            transformed()
    with dual_level(), pytest.raises(NotImplementedError, match=message):
        unpack_dual(function(make_dual(x, x)))
