"""The Triton kernels as PyTorch sees them: launches, registered operators, its compiler."""

import pytest
import torch

from tests.algorithms.gpu import DEVICE
from tests.operands import images, units
from torchdau import dau_conv2d
from torchdau.algorithms.layer import Layer
from torchdau.algorithms.spectral import triton
from torchdau.algorithms.spectral.task import Tensors
from torchdau.profile import Profile

pytest.importorskip("triton")
from benchmarks.gpu_counts import Launches
from torchdau.algorithms.spectral.triton import task


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_few_launches(tensor_cores, layout):
    """Nothing but the kernels and the last sums: no copy of an image, whatever its layout."""
    x, (w, mu), bias = images(2, 3, 6, 5).float(), units(4, 3, 2, bound=1.0), images(4).float()
    x = x.contiguous(memory_format=layout).to(DEVICE)
    w, mu, bias, sigma = (t.float().to(DEVICE) for t in (w, mu, bias, torch.tensor(0.3)))
    profile = Profile("bilinear", "smooth", 1.0, 0.5)
    made = task.Task(Layer.of(x, w, sigma, (1, 1), (0, 0), 1, profile), tf32=True)
    tensors, kept = Tensors(x, w, mu, sigma, bias), x.new_empty(made.kept)
    with Launches(run=True) as launches:
        output = made.forward(tensors, kept)
        assert launches.names == ["_analysis", "_spectra", "_product", "_synthesis"]
        launches.made.clear()
        made.backward(tensors, output, [True, True, True, False, True], kept)
    of_units = ["_product", "_gradients", "aten::sum.dim_IntList", "aten::sum.dim_IntList"]
    of_bias = ["aten::sum.dim_IntList", "aten::mul.Tensor"]
    assert sorted(launches.names) == sorted(["_analysis", "_spectra", "_product", "_synthesis", *of_units, *of_bias])


@pytest.mark.usefixtures("served")
def test_autograd_launches_nothing_of_its_own():
    """Not even zeros for a gradient of the spectra that are kept."""
    x, (w, mu) = images(1, 2, 3, 4).float().to(DEVICE), units(2, 2, 1, bound=1.0)
    leaves = [t.float().to(DEVICE).requires_grad_() for t in (x, w, mu)]
    output = dau_conv2d(*leaves, 0.3, max_displacement=1, algorithm="spectral")
    with Launches(run=True) as launches:
        torch.autograd.grad(output, leaves, torch.ones_like(output))
    of_units = ["aten::sum.dim_IntList", "aten::sum.dim_IntList"]
    assert [name for name in launches.names if name.startswith("aten")] == ["aten::ones_like", *of_units]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # inside of opcheck
def test_registered_operators(layout):
    """With the spectra that are kept: shapes and layouts are those that PyTorch's compiler is told."""
    x, (w, mu), bias = images(1, 2, 3, 4).float(), units(2, 2, 1, bound=1.0), images(2).float()
    x = x.contiguous(memory_format=layout)
    leaves = [t.float().to(DEVICE).requires_grad_() for t in (x, w, mu, torch.tensor(0.3), bias)]
    options = ([1, 1], [0, 0], 1, "bilinear", "smooth", 1.0, 0.3)
    tests = "test_schema", "test_autograd_registration", "test_faketensor"  # the others differentiate by the hundred
    torch.library.opcheck(torch.ops.torchdau.spectral.default, (*leaves, *options, True), test_utils=tests)
    plain = [t.detach() for t in leaves]
    output, spectra = torch.ops.torchdau.spectral(*plain, *options, True)
    assert spectra.shape == triton.kept_spectra(Layer.of(x, w, plain[3], *options[:3], Profile(*options[3:])))
    assert output.is_contiguous(memory_format=layout)
    torch.library.opcheck(
        torch.ops.torchdau.spectral_backward.default, (output, *plain, *options, spectra, [True] * 5), test_utils=tests
    )


@pytest.mark.usefixtures("served")
def test_compiled():
    """PyTorch's compiler traces a training step whole."""
    x, (w, mu) = images(1, 2, 3, 4).float(), units(2, 2, 1, bound=1.0)
    leaves = [t.float().to(DEVICE).requires_grad_() for t in (x, w, mu)]

    def step(x, w, mu):
        return dau_conv2d(x, w, mu, 0.3, max_displacement=1, algorithm="spectral").square().sum()

    expected = torch.autograd.grad(step(*leaves), leaves)
    got = torch.autograd.grad(torch.compile(step, backend="aot_eager", fullgraph=True)(*leaves), leaves)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
