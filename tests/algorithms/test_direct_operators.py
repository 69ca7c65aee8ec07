"""The direct algorithm as PyTorch and "auto" see it: registered operators, its compiler, refusals."""

import itertools

import pytest
import torch

from tests.algorithms.libraries import built, needs_kernels
from tests.operands import images, units
from torchdau import dau_conv2d, functional, kernels
from torchdau.algorithms import Choice, choose, direct
from torchdau.algorithms.layer import Layer
from torchdau.kernels import Kernels
from torchdau.profile import Profile

pytestmark = built


@needs_kernels
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # inside of opcheck
def test_registered_operators(kernel):
    x, (w, mu), bias = images(2, 3, 6, 5).float(), units(3, 1, 2), images(3).float()
    sigma = torch.tensor(0.5)
    for learned in (False, True):
        leaves = [t.float().detach().requires_grad_() for t in (x, w, mu)]
        arguments = *leaves, sigma.clone().requires_grad_(learned), bias.requires_grad_()
        options = [1, 2], [1, 0], 3, "bilinear", "smooth", 4.0, 0.5
        torch.library.opcheck(torch.ops.torchdau.direct.default, (*arguments, *options))
        torch.library.opcheck(torch.ops.torchdau.direct.default, (*arguments, *options, True))
    grad, tensors = torch.randn(2, 3, 8, 3), [t.detach() for t in (x, w.float(), mu.float(), sigma)]
    for needed in itertools.product((False, True), repeat=4):
        options = [1, 2], [1, 0], 3, "bilinear", "smooth", 4.0, 0.5, list(needed)
        torch.library.opcheck(torch.ops.torchdau.direct_backward.default, (grad, *tensors, *options))


@needs_kernels
def test_a_gradient_of_a_gradient_is_refused():
    x, (w, mu) = images(1, 3, 6, 5).float().requires_grad_(), units(3, 1, 2)
    output = dau_conv2d(x, w.float().requires_grad_(), mu.float(), max_displacement=4, groups=3, algorithm="direct")
    (d_input,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match='algorithm must be "dense"'):
        torch.autograd.grad(d_input.sum(), x)


@needs_kernels
@pytest.mark.parametrize(("n", "c", "side", "stride"), [(8, 96, 56, 1), (8, 64, 64, 2), (8, 960, 4, 1), (1, 4, 8, 1)])
def test_auto_takes_it(n, c, side, stride):
    tensors, axes = (torch.empty(n, c, side, side), torch.empty(c, 1, 2), torch.empty(())), ((stride, stride), (0, 0))
    assert choose(Layer.of(*tensors, *axes, c, Profile("bilinear", "smooth", 4.0, 0.5))).forward == "direct"


@needs_kernels
def test_compiled():
    layer = torch.compile(lambda x, w, mu: dau_conv2d(x, w, mu, max_displacement=4), fullgraph=True)
    x, (w, mu) = images(1, 16, 9, 9).float(), (t.float() for t in units(16, 16, 2))
    torch.testing.assert_close(layer(x, w, mu), dau_conv2d(x, w, mu, max_displacement=4, algorithm="direct"))


@needs_kernels
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_spectral_backward_pass(monkeypatch, layout, compiled):
    """What "auto" chooses for many images with a stride."""
    monkeypatch.setattr(functional, "choose", lambda layer, training: Choice("direct", "spectral"))
    x, (w, mu), bias = images(2, 16, 9, 12).contiguous(memory_format=layout), units(24, 16, 2), images(24)
    grad = images(2, 24, 5, 6)
    function = torch.compile(dau_conv2d, fullgraph=True) if compiled else dau_conv2d
    results = {}
    for algorithm in ("auto", "direct", "spectral", "dense"):
        dtype = torch.float64 if algorithm == "dense" else torch.float32
        leaves = [t.to(dtype).detach().requires_grad_() for t in (x, w, mu, bias)]
        call = function if algorithm == "auto" else dau_conv2d
        output = call(*leaves[:3], bias=leaves[3], stride=2, max_displacement=4, algorithm=algorithm)
        results[algorithm] = output, *torch.autograd.grad(output, leaves, grad.to(dtype))
    for got, exact in zip(results["auto"], results["dense"], strict=True):
        assert (got - exact).abs().max() <= 1e-5 * exact.abs().max()
    assert torch.equal(results["auto"][0], results["direct"][0])
    assert all(torch.equal(got, own) for got, own in zip(results["auto"][1:], results["spectral"][1:], strict=True))
    assert all(got.stride() == own.stride() for got, own in zip(results["auto"], results["direct"], strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"interpolation": "gaussian"},
            "must have interpolation='bilinear' for more than 16 input channels, got 'gaussian'",
        ),
        (
            {"sigma": torch.full((4, 17, 2), 0.5)},
            r"must have one sigma for more than 16 input channels, got sigma of shape \(4, 17, 2\)",
        ),
        ({"dtype": torch.float64}, "must have input of float32 or less, got dtype=torch.float64"),
    ],
)
def test_refusals(options, message):
    dtype = options.pop("dtype", torch.float32)
    x, (w, mu) = images(2, 17, 9, 9).to(dtype), (t.to(dtype) for t in units(4, 17, 2))
    with pytest.raises(ValueError, match=f'algorithm="direct" {message}'):
        dau_conv2d(x, w, mu, algorithm="direct", **options)


def test_refusal_without_kernels(monkeypatch):
    for module in (kernels, direct):
        monkeypatch.setattr(module, "kernels", lambda: Kernels(None, "not built"))
    x, (w, mu) = images(2, 3, 9, 9).float(), (t.float() for t in units(4, 3, 2))
    with pytest.raises(ValueError, match="needs the native kernels, which are not built"):
        dau_conv2d(x, w, mu, algorithm="direct")
