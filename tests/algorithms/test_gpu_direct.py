"""The Triton kernels for few channels in a group, on a GPU or by Triton's interpreter, against dense in float64."""

import itertools

import pytest
import torch

from tests.algorithms.gpu import DEVICE, compare
from tests.operands import images, units
from torchdau import dau_conv2d
from torchdau.algorithms.direct import operators, triton
from torchdau.algorithms.layer import Layer
from torchdau.profile import Profile

pytest.importorskip("triton")
from torchdau.algorithms.direct.triton.task import Task

# N, I, O, H, W, K, stride, padding, groups
CASES = [
    (2, 3, 3, 5, 6, 2, 1, 0, 3),
    (1, 2, 6, 20, 17, 1, (1, 2), (2, 1), 2),
    (1, 4, 2, 13, 14, 3, 2, -1, 2),
    (2, 1, 1, 1, 1, 5, 3, 0, 1),
    (1, 1, 1, 70, 3, 2, 1, 1, 1),
]


@pytest.fixture
def served(monkeypatch, tensor_cores):
    """The Triton kernels compute what the direct algorithm is asked for, as exactly as they can."""
    used = []

    def on_gpu(layer):
        used.append(layer)
        return Task(layer)

    monkeypatch.setattr(operators, "_on_gpu", on_gpu)
    monkeypatch.setattr("torchdau.algorithms.direct.unsuitable", lambda *args: None)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before
    assert used


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("form", [("smooth", False), ("exact", True)], ids=str)
def test_equals_dense(case, form):
    n, i, o, h, w, k, stride, padding, groups = case
    displacement_gradient, learned = form
    x, (weight, mu), bias = images(n, i, h, w), units(o, i // groups, k, bound=1.0), images(o)
    sigma = torch.rand(weight.shape, dtype=x.dtype) * 0.4 + 0.1 if learned else torch.tensor(0.3, dtype=x.dtype)
    options = {"stride": stride, "padding": padding, "groups": groups, "algorithm": "direct"}
    compare([x, weight, mu, sigma, bias], displacement_gradient=displacement_gradient, **options)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 2e-2), (torch.float16, 1e-3)], ids=str
)
def test_less_precise(dtype, tolerance):
    """TF32, where PyTorch lets convolutions have it, and half types; the interpreter rounds bfloat16 towards zero."""
    torch.backends.cudnn.allow_tf32 = True
    x, (w, mu) = images(2, 2, 9, 8), units(2, 1, 2, bound=1.0)
    tensors = [x, w, mu, torch.tensor(0.4), images(2)]
    with pytest.raises(AssertionError, match="assert"):
        compare(tensors, dtype, tolerance / 20, groups=2, algorithm="direct")
    compare(tensors, dtype, tolerance, groups=2, algorithm="direct")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("learned", [False, True])
def test_only_what_is_needed(learned):
    x, (w, mu) = images(1, 2, 6, 5).float(), (t.float() for t in units(2, 1, 2, bound=1.0))
    sigma = torch.full(w.shape, 0.3) if learned else 0.3
    for needed in itertools.product([False, True], repeat=3):
        leaves = [t.to(DEVICE).requires_grad_(need) for t, need in zip((x, w, mu), needed, strict=True)]
        wanted = [t for t in leaves if t.requires_grad]
        results = []
        for algorithm in ("direct", "dense"):
            options = {"max_displacement": 1, "max_sigma": 0.5, "groups": 2, "algorithm": algorithm}
            output = dau_conv2d(*leaves, sigma.to(DEVICE) if learned else sigma, **options)
            results.append([output, *(torch.autograd.grad(output.square().sum(), wanted) if wanted else ())])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("served")
def test_layouts_of_memory():
    """Images and gradients may lie in memory in any way, and the output is in the input's layout."""
    x, (w, mu) = images(2, 3, 6, 4).float(), (t.float() for t in units(3, 1, 2, bound=1.0))
    x, w, mu = (t.to(DEVICE).requires_grad_() for t in (x, w, mu))
    results = []
    bias = torch.arange(3.0, device=DEVICE).repeat_interleave(2)[::2]
    for view in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        output = dau_conv2d(view, w, mu, 0.5, bias, max_displacement=1, groups=3, algorithm="direct")
        results.append([output, *torch.autograd.grad(output.sum(), (x, w, mu))])  # a gradient whose strides are 0
        assert output.is_contiguous(memory_format=torch.channels_last) == (view.stride(1) == 1)
    plain = dau_conv2d(x, w, mu, 0.5, max_displacement=1, groups=3, algorithm="dense")
    torch.testing.assert_close(results[0][0], plain + torch.arange(3.0, device=DEVICE).view(3, 1, 1))
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.usefixtures("served")
def test_a_bad_displacement_spoils_its_own_outputs_only():
    x, (w, mu) = images(2, 3, 4, 5).float(), (t.float() for t in units(3, 1, 2, bound=1.0))
    mu[1, 0, 0, 1] = float("nan")
    output = dau_conv2d(*(t.to(DEVICE) for t in (x, w, mu)), max_displacement=1, groups=3, algorithm="direct")
    assert output[:, 1].isnan().all()
    assert output[:, [0, 2]].isfinite().all()


@pytest.mark.usefixtures("served")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # inside of opcheck
def test_registered_operators():
    x, (w, mu), bias = images(1, 2, 3, 4).float(), units(2, 1, 1, bound=1.0), images(2).float()
    leaves = [t.float().to(DEVICE).requires_grad_() for t in (x, w, mu, torch.full((2, 1, 1), 0.3), bias)]
    options = ([1, 1], [0, 0], 2, "bilinear", "smooth", 1.0, 0.3)
    tests = "test_schema", "test_autograd_registration", "test_faketensor"  # the others differentiate by the hundred
    torch.library.opcheck(torch.ops.torchdau.direct.default, (*leaves, *options), test_utils=tests)
    plain = [t.detach() for t in leaves]
    output = torch.ops.torchdau.direct(*plain, *options)
    arguments = output, *plain[:4], *options, [True] * 4
    torch.library.opcheck(torch.ops.torchdau.direct_backward.default, arguments, test_utils=tests)


def test_which_layers_fit(monkeypatch):
    """For other layers, another algorithm computes."""
    monkeypatch.setattr(triton, "available", lambda device: True)
    profile = Profile("bilinear", "smooth", 4, 1)

    def reason(i=1, dtype=torch.float32, profile=profile):
        shapes, axes = ((2, 8, 8, 8), (8, i, 2)), ((1, 1), (0, 0))
        return triton.unsuitable(Layer(*shapes, *axes, 1, profile, dtype, torch.device("cuda"), True))

    assert reason() is None
    assert "interpolation='bilinear' on a GPU, got 'gaussian'" in reason(profile=Profile("gaussian", "smooth", 4, 1))
    assert reason(triton.FEW, torch.bfloat16) is None
    assert "at most 4 input channels in a group on a GPU, got 5" in reason(5)
    assert "float32 or less, got dtype=torch.float64" in reason(dtype=torch.float64)
    assert "max_sigma of at most 3.3 pixels on a GPU, got 4" in reason(profile=Profile("bilinear", "smooth", 4, 4))
