"""The Triton kernels, on a GPU or by Triton's interpreter, against the dense algorithm in float64.

The interpreter takes milliseconds for each program, so layers are tiny. Of itself it multiplies float32 exactly and
bfloat16 as if it were integers; :func:`tensor_cores` makes it do what a GPU does.
"""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.operands import gradients, images, relative, units
from torchdau import dau_conv2d
from torchdau.algorithms.spectral import operators, triton
from torchdau.algorithms.spectral.task import Layer
from torchdau.algorithms.spectral.tiling import cut
from torchdau.profile import Profile

pytest.importorskip("triton")
from torchdau.algorithms.spectral.triton import filters, products, task, transforms

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHARED_MEMORY = {80: 99 << 10, 90: 99 << 10, 100: 227 << 10, 120: 99 << 10}
"""Bytes that kernels may take, by compute capability: 99 KB are those of 8.6, 8.9 and 12.0."""

VARIANTS = 24
"""Kernels that the layers of a ResNet-50 may compile in one precision."""

SPILLED = 448
"""Bytes of registers of a thread that may go to memory: large tiles in exact float32, elsewhere 352."""

KERNELS = {"_spectra", "_analysis", "_product", "_synthesis", "_gradients"}


@pytest.fixture
def tensor_cores(monkeypatch):
    """Products of the interpreter like a GPU's: float32 is cut off to TF32, or rounded to it three times (tf32x3)."""
    if DEVICE == "cuda":
        return
    from triton.runtime import interpreter

    multiply = interpreter.InterpreterBuilder.create_dot

    def create_dot(self, a, b, d, input_precision, most):
        def add(total, *operands):
            return multiply(self, *operands, total, input_precision, most)

        thrice = a.data.dtype == "float32" and "x3" in str(input_precision).lower()
        big_a, big_b = (single(t, thrice) for t in (a, b))
        if not thrice:
            return add(d, big_a, big_b)
        small_a, small_b = (single(handle(t.data - big.data), True) for t, big in ((a, big_a), (b, big_b)))
        return add(add(add(d, small_a, big_b), big_a, small_b), big_a, big_b)

    def single(operand, nearest):
        bits = operand.data
        if bits.dtype == "float16":
            return operand
        if bits.dtype == "uint16":
            return handle((bits.astype("uint32") << 16).view("float32"))
        return handle(((bits.view("uint32") + (0x1000 if nearest else 0)) & 0xFFFFE000).view("float32"))

    def handle(data):
        return interpreter.TensorHandle(data, interpreter.tl.float32)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


@pytest.fixture
def served(monkeypatch, tensor_cores):
    """The kernels compute what the spectral algorithm is asked for, as exactly as they can."""
    used = []
    make = task.Task.__init__
    monkeypatch.setattr(task.Task, "__init__", lambda *args: used.append(args) or make(*args))
    monkeypatch.setattr(triton, "fits", lambda *args: True)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before
    assert used


def compare(inputs, dtype=torch.float32, tolerance=2e-6, **options):
    """Output and gradients of the kernels against dense in float64, of the same numbers."""
    options = {"max_displacement": 1, "max_sigma": 0.5} | options
    single = [t.to(dtype) if number in (0, 1, 4) else t.float() for number, t in enumerate(inputs)]
    expected = gradients([t.double() for t in single], algorithm="dense", **options)
    got = gradients([t.to(DEVICE) for t in single], algorithm="spectral", **options)
    for a, b in zip(got, expected, strict=True):
        assert relative(a.cpu(), b) < tolerance * (1 if b.ndim else 20)  # a sum in which most cancels


# N, I, O, H, W, K, stride, padding, groups
CASES = [
    (2, 3, 5, 5, 6, 2, 1, 0, 1),
    (3, 17, 3, 4, 3, 1, (1, 2), (2, 1), 1),
    (1, 4, 6, 6, 7, 3, 2, -1, 2),
    (2, 2, 33, 1, 1, 5, 1, 0, 1),
]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("form", [("smooth", True), ("exact", True), ("smooth", False), ("exact", False)], ids=str)
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


class Launches(TorchDispatchMode):
    """Counts what PyTorch itself launches, and what the kernels do."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.names = []
        for module in (transforms, filters, products):
            for name in KERNELS & vars(module).keys():
                monkeypatch.setattr(module, name, self.counted(name, getattr(module, name)))

    def counted(self, name, kernel):
        launches = self.names

        class Counted:
            def __getitem__(self, grid):
                launches.append(name)
                return kernel[grid]

        return Counted()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        new = any(str(result.type) == "Tensor" and result.alias_info is None for result in function._schema.returns)
        if new and "empty" not in function.name():
            self.names.append(function.name())
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_few_launches(monkeypatch, tensor_cores, layout):
    """Nothing but the kernels and the last sums: no copy of an image, whatever its layout."""
    x, (w, mu), bias = images(2, 3, 6, 5).float(), units(4, 3, 2, bound=1.0), images(4).float()
    x = x.contiguous(memory_format=layout).to(DEVICE)
    w, mu, bias, sigma = (t.float().to(DEVICE) for t in (w, mu, bias, torch.tensor(0.3)))
    profile = Profile("bilinear", "smooth", 1.0, 0.5)
    layer = Layer(x, w, mu, sigma, bias, (1, 1), (0, 0), 1, profile)
    kept = x.new_empty(triton.kept_spectra(x, (1, 1), (0, 0), profile))
    task.Task(layer, kept, known=False).forward()  # constant matrices are made once
    with Launches(monkeypatch) as launches:
        output = task.Task(layer, kept, known=False).forward()
        assert launches.names == ["_analysis", "_spectra", "_product", "_synthesis"]
        launches.names.clear()
        task.Task(layer, kept, known=True).backward(output, [True, True, True, False, True])
    of_units = ["_product", "_gradients", "aten::sum.dim_IntList", "aten::sum.dim_IntList"]
    of_bias = ["aten::sum.dim_IntList", "aten::mul.Tensor"]
    assert sorted(launches.names) == sorted(["_analysis", "_spectra", "_product", "_synthesis", *of_units, *of_bias])


@pytest.mark.usefixtures("served")
def test_autograd_launches_nothing_of_its_own(monkeypatch):
    """Not even zeros for a gradient of the spectra that are kept."""
    x, (w, mu) = images(1, 2, 3, 4).float().to(DEVICE), units(2, 2, 1, bound=1.0)
    leaves = [t.float().to(DEVICE).requires_grad_() for t in (x, w, mu)]
    output = dau_conv2d(*leaves, 0.3, max_displacement=1, algorithm="spectral")
    with Launches(monkeypatch) as launches:
        torch.autograd.grad(output, leaves, torch.ones_like(output))
    assert [name for name in launches.names if name.startswith("aten")] == ["aten::ones_like"]


@pytest.mark.usefixtures("served")
def test_kept_spectra(monkeypatch):
    """The spectra of the forward pass serve the backward pass, where they are not too large."""
    known = []
    kept_class = task.Kept
    monkeypatch.setattr(task, "Kept", lambda spectra: known.append(spectra.shape) or kept_class(spectra))
    x, (w, mu), bias = images(2, 4, 6, 5), units(6, 2, 2, bound=1.0), images(6)
    compare([x, w, mu, torch.tensor(0.3), bias], groups=2)
    assert known == [(2, 5 * 9, 2, 2, 2)]
    monkeypatch.setattr(triton, "KEPT", 1)
    compare([x, w, mu, torch.tensor(0.3), bias], groups=2)
    assert len(known) == 1


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
    torch.library.opcheck(operators._spectral, (*leaves, *options, True), test_utils=tests)
    plain = [t.detach() for t in leaves]
    output, spectra = operators._spectral(*plain, *options, True)
    assert spectra.shape == triton.kept_spectra(x, (1, 1), (0, 0), Profile(*options[3:]))
    assert output.is_contiguous(memory_format=layout)
    torch.library.opcheck(
        operators._spectral_backward, (output, *plain, *options, spectra, [True] * 5), test_utils=tests
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


@pytest.mark.usefixtures("served")
def test_pieces(monkeypatch):
    """Every way of cutting: tiles, some of them at a time, and tables of some channels at a time."""
    monkeypatch.setattr(triton, "LONGEST", 16)
    bias = images(4)
    for groups, spectra, room, size in ((1, 1 - (1 << 40), 1, (14, 5)), (2, 1 << 30, 1 << 30, (4, 14))):
        x = images(1, 2, *size)
        monkeypatch.setattr(task, "SPECTRA", spectra)
        monkeypatch.setattr(task, "FILTERS", room)
        w, mu = units(4, 2 // groups, 1, bound=1.0)
        compare([x, w, mu, torch.tensor(0.3), bias], groups=groups)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("padding", [0, -30])
def test_pixels_that_no_unit_reads(monkeypatch, padding):
    """With a stride beyond the window there are pixels between the tiles; their gradient is zero."""
    monkeypatch.setattr(triton, "LONGEST", 32)
    monkeypatch.setattr(triton, "TILE", 32)
    x, (w, mu) = images(1, 1, 65, 1), units(1, 1, 1, bound=0.0)
    padding = (padding, 0)
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *args, **options: empty_like(*args, **options).fill_(float("nan")))
    compare([x, w, mu, torch.tensor(0.3)], stride=8, padding=padding, max_displacement=0)


def test_tiles_of_a_phase_do_not_meet():
    """The interpreter runs programs one after the other, and would not notice."""
    for size, stride, window in itertools.product((1, 16, 100), (1, 2, 8), (3, 13, 60)):
        for count in range(1, 4):
            tiles = cut(count, size * stride, size, stride, 0, -(window // 2), window // 2).inputs
            assert tiles.phases == tiles.count or tiles.step * tiles.phases >= tiles.size


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


@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_compiles_for_gpus_that_are_not_here(capability):
    """What the interpreter accepts must compile, into few kernels that do not take more memory than a GPU has."""
    script = Path(__file__).parents[1] / "kernels" / "compile_for_gpu.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "ignore", str(script), str(capability)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert {m["kernel"] for m in made} == KERNELS
    assert max(Counter(m["network"] for m in made).values()) <= VARIANTS
    for kernel in made:
        assert kernel["target"] == capability
        assert kernel["shared"] <= SHARED_MEMORY[capability], kernel
        assert kernel["stack"] <= SPILLED, kernel


def test_which_layers_fit(monkeypatch):
    """Where no kernel is for a layer, PyTorch computes it."""
    monkeypatch.setattr(triton, "available", lambda device: True)
    x, w, profile = torch.empty(2, 64, 8, 8, device="meta"), torch.empty(64, 64, 2), Profile("bilinear", "smooth", 4, 1)
    x = _pretended("cuda", x)
    assert triton.fits(x, w, (1, 1), profile)
    assert operators.serves(x, w, (1, 1), profile)
    assert not triton.fits(x, w, (8, 1), profile)
    assert not triton.fits(x, w[:, :1], (1, 1), profile)
    assert not triton.fits(x, torch.empty(64, 64, 17), (1, 1), profile)
    assert not triton.fits(x, w, (1, 1), Profile("bilinear", "smooth", 64, 1))
    assert not triton.fits(_pretended("cpu", x), w, (1, 1), profile)


def _pretended(device, tensor):
    """Shapes and types of a tensor, said to be on a device."""

    class Pretended:
        dtype, shape, numel = tensor.dtype, tensor.shape, staticmethod(tensor.numel)

    Pretended.device = torch.device(device)
    return Pretended()
