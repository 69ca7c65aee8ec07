"""The Triton kernels, on a GPU or by Triton's interpreter, against the dense algorithm in float64."""

import itertools

import pytest
import torch

from tests.algorithms.gpu import DEVICE, compare
from tests.operands import images, units
from torchdau import dau_conv2d
from torchdau.algorithms.layer import Layer
from torchdau.algorithms.spectral import operators, triton
from torchdau.profile import Profile

pytest.importorskip("triton")
from torchdau.gpu import blocks

# N, I, O, H, W, K, stride, padding, groups
CASES = [
    (2, 3, 5, 5, 6, 2, 1, 0, 1),
    (3, 17, 3, 4, 3, 1, (1, 2), (2, 1), 1),
    (1, 4, 6, 6, 7, 3, 2, -1, 2),
    (2, 2, 33, 1, 1, 5, 1, 0, 1),
]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    "form",
    [
        ("exact", True),
        ("smooth", False),
        pytest.param(("exact", False), marks=pytest.mark.slow),
        pytest.param(("smooth", True), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_equals_dense(case, form):
    n, i, o, h, w, k, stride, padding, groups = case
    displacement_gradient, learned = form
    x, (weight, mu), bias = images(n, i, h, w), units(o, i // groups, k, bound=1.0), images(o)
    sigma = torch.rand(weight.shape, dtype=x.dtype) * 0.4 + 0.1 if learned else torch.tensor(0.3, dtype=x.dtype)
    options = {"stride": stride, "padding": padding, "groups": groups}
    compare([x, weight, mu, sigma, bias], displacement_gradient=displacement_gradient, **options)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 2.5e-2), (torch.float16, 1e-3)], ids=str
)
def test_less_precise(dtype, tolerance):
    """TF32, where PyTorch lets convolutions have it, and half types; the interpreter rounds bfloat16 towards zero."""
    torch.backends.cudnn.allow_tf32 = True
    x, (w, mu) = images(2, 9, 5, 5), units(4, 9, 2, bound=1.0)
    with pytest.raises(AssertionError, match="assert"):
        compare([x, w, mu, torch.tensor(0.4), images(4)], dtype, tolerance / 20)
    compare([x, w, mu, torch.tensor(0.4), images(4)], dtype, tolerance)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(("i", "o"), [(1, 1), (3, 1), (1, 3), (2, 2)])
def test_few_channels_of_a_group_that_lie_side_by_side(i, o):
    """In channels_last, PyTorch gives the axis of a group's only channel any stride."""
    x, (w, mu) = images(2, 2 * i, 5, 4), units(2 * o, i, 2, bound=1.0)
    layer = [x.contiguous(memory_format=torch.channels_last), w, mu, torch.tensor(0.3), images(2 * o)]
    compare(layer, groups=2)


@pytest.mark.usefixtures("served")
def test_float16_of_large_mean():
    """A transform multiplies the mean of a tile by its side; where the output is within the type, so is the result."""
    x, w, mu = torch.full((1, 2, 16, 16), 30000.0), torch.full((1, 2, 1), 0.5), torch.zeros(1, 2, 1, 2)
    layer = [t.to(DEVICE) for t in (x.half(), w.half(), mu)]
    output = dau_conv2d(*layer, 0.3, max_displacement=0, algorithm="spectral").cpu().float()
    torch.testing.assert_close(output[..., 2:-2, 2:-2], x[:, :1, 2:-2, 2:-2], rtol=2e-3, atol=0)


@pytest.mark.usefixtures("served")
def test_layouts_of_memory():
    """Images and gradients are read where they lie."""
    x, (w, mu) = images(2, 5, 6, 4).float(), (t.float() for t in units(3, 5, 2, bound=1.0))
    x, w, mu = (t.to(DEVICE).requires_grad_() for t in (x, w, mu))
    results = []
    bias = torch.arange(3.0, device=DEVICE)
    views = (
        x,
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
        x.repeat_interleave(2, 3)[..., ::2],
    )
    for view, b in zip(views, (bias, bias.repeat_interleave(2)[::2], bias, bias), strict=True):
        output = dau_conv2d(view, w, mu, 0.5, b, max_displacement=1, algorithm="spectral")
        results.append([output, *torch.autograd.grad(output.sum(), (x, w, mu))])  # a gradient whose strides are 0
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=2))[1:], ids=str)
def test_only_what_is_needed(needed):
    x, (w, mu) = images(1, 3, 4, 4).float(), (t.float() for t in units(2, 3, 1, bound=1.0))
    leaves = [t.to(DEVICE).requires_grad_(need) for t, need in zip((x, w), needed, strict=True)]
    got = dau_conv2d(*leaves, mu.to(DEVICE), max_displacement=1, algorithm="spectral")
    wanted = [t for t in leaves if t.requires_grad]
    grads = torch.autograd.grad(got.square().sum(), wanted)
    expected = dau_conv2d(*leaves, mu.to(DEVICE), max_displacement=1, algorithm="dense")
    for a, b in zip(grads, torch.autograd.grad(expected.square().sum(), wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("served")
def test_a_bad_displacement_spoils_its_own_outputs_only():
    x, (w, mu) = images(2, 3, 4, 5).float(), (t.float() for t in units(4, 3, 2, bound=1.0))
    mu[1, 2, 0, 1] = float("nan")
    output = dau_conv2d(*(t.to(DEVICE) for t in (x, w, mu)), max_displacement=1, algorithm="spectral")
    assert output[:, 1].isnan().all()
    assert output[:, [0, 2, 3]].isfinite().all()


def test_operands_are_rounded_to_the_nearest():
    """Tensor cores would cut off what TF32 has no room for."""
    matrix = torch.tensor([1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-12, -1 - 3 * 2**-12, 0.0])
    expected = torch.tensor([1 + 2**-10, 1 + 2**-10, 1 + 2**-10, -1 - 2**-10, 0.0])
    assert torch.equal(blocks.rounded(matrix, "tf32"), expected)
    assert torch.equal(blocks.rounded(matrix, "tf32x3"), matrix)


def test_which_layers_fit(monkeypatch):
    """Where no kernel is for a layer, PyTorch computes it."""
    monkeypatch.setattr(triton, "available", lambda device: True)
    x, w, profile = torch.empty(2, 64, 8, 8, device="meta"), torch.empty(64, 64, 2), Profile("bilinear", "smooth", 4, 1)
    x = _pretended("cuda", x)

    def layer(x, w, stride=(1, 1), profile=profile):
        return Layer.of(x, w, torch.tensor(0.5), stride, (0, 0), 1, profile)

    def fits(*args, **options):
        return triton.fits(layer(*args, **options))

    assert fits(x, w)
    assert operators.serves(layer(x, w))
    assert not fits(x, w, (8, 1))
    assert not fits(x, w[:, :1])
    assert not fits(x, torch.empty(64, 64, 17))
    assert not fits(x, w, profile=Profile("bilinear", "smooth", 64, 1))
    assert not fits(_pretended("cpu", x), w)
    large = torch.empty(1, 64, 1 << 13, 1 << 12, device="meta")
    assert not fits(_pretended("cuda", large), w)
    assert fits(_pretended("cuda", large[..., 1:]), w)


def _pretended(device, tensor):
    """Shapes and types of a tensor, said to be on a device."""

    class Pretended:
        dtype, shape, numel = tensor.dtype, tensor.shape, staticmethod(tensor.numel)

    Pretended.device = torch.device(device)
    return Pretended()
