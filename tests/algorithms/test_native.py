"""The native kernels: every library that this processor can run, against the dense algorithm in float64."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import torchdau
from benchmarks import layer
from tests.algorithms.libraries import built
from tests.operands import gradients, images, relative, units
from torchdau import dau_conv2d
from torchdau import kernels as kernels_module
from torchdau.algorithms.layer import Layer
from torchdau.algorithms.spectral import native, operators, planning
from torchdau.kernels import ADVICE, NOT_BUILT, TURNED_OFF, Kernels
from torchdau.profile import Profile

ROOT = Path(torchdau.__file__).parent.parent
pytestmark = built


# N, I, O, H, W, K, stride, padding, groups
CASES = [
    (3, 5, 7, 9, 9, 2, 1, 0, 1),
    (2, 33, 40, 13, 17, 3, 1, 0, 1),
    (1, 3, 16, 40, 33, 1, 1, 0, 1),
    (5, 16, 32, 8, 8, 1, 2, 0, 1),
    (2, 16, 16, 31, 50, 2, 2, 3, 1),
    (2, 16, 16, 12, 12, 2, 1, -2, 2),
    (1, 4, 4, 100, 90, 2, 1, 0, 1),
    (2, 32, 24, 60, 60, 2, 3, 1, 4),
    (3, 8, 8, 1, 1, 2, 1, 0, 1),
    (2, 9, 8, 1, 30, 6, 1, 0, 1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("form", list(itertools.product(("bilinear", "gaussian"), ("smooth", "exact"))), ids="-".join)
@pytest.mark.parametrize("learned", [False, True])
def test_equals_dense(variant, case, form, learned):
    n, i, o, h, w, k, stride, padding, groups = case
    x, (weight, mu), bias = images(n, i, h, w), units(o, i // groups, k), images(o)
    sigma = torch.rand(weight.shape, dtype=weight.dtype) * 0.7 + 0.2 if learned else torch.tensor(0.5, dtype=x.dtype)
    options = dict(zip(("interpolation", "displacement_gradient"), form, strict=True))
    options |= {"stride": stride, "padding": padding, "groups": groups, "max_displacement": 4, "max_sigma": 1}
    inputs = [x, weight, mu, sigma, bias]
    expected = gradients(inputs, algorithm="dense", **options)
    got = gradients([t.float() for t in inputs], algorithm="spectral", **options)
    for a, b in zip(got, expected, strict=True):
        assert relative(a, b) < (2e-6 if b.ndim else 2e-5)  # a shared sigma's is a sum in which most cancels


@pytest.mark.parametrize("form", ["bilinear", "gaussian"])
@pytest.mark.parametrize(("least", "most", "reach"), [(0.1, 0.2, 4), (1, 8, 16), (20, 60, 4)])
def test_widest_and_narrowest_gaussians(variant, form, least, most, reach):
    """Where digits could cancel, or errors grow with the square of the distance."""
    x, (weight, mu) = images(2, 8, 20, 20), units(8, 8, 2)
    sigma = torch.rand(weight.shape, dtype=weight.dtype) * (most - least) + least
    inputs = [x, weight, mu * (reach / 4), sigma, images(8)]
    options = {"interpolation": form, "max_displacement": reach, "max_sigma": most}
    expected = gradients(inputs, algorithm="dense", **options)
    got = gradients([t.float() for t in inputs], algorithm="spectral", **options)
    assert max(relative(a, b) for a, b in zip(got, expected, strict=True)) < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("shape", layer.SHAPES, ids=str)
def test_error_at_the_shapes_that_are_timed(shape):
    n, i, o, side, k = shape
    inputs = [images(n, i, side, side), *units(o, i, k), torch.tensor(0.5), images(o)]
    expected = gradients([t.double() for t in inputs], max_displacement=4, algorithm="spectral")
    for a, b in zip(
        gradients([t.float() for t in inputs], max_displacement=4, algorithm="spectral"), expected, strict=True
    ):
        assert relative(a, b) < (1e-6 if b.ndim else 2e-5)  # a shared sigma's is a sum in which most cancels


def test_they_are_used(variant):
    """What the other tests compare is computed by the kernels and not by PyTorch."""
    x, (w, _), sigma = images(1, 8, 6, 6), units(8, 8, 1), torch.tensor(0.5)
    profile = Profile("bilinear", "smooth", 2.0, 0.5)

    def serves(x, w):
        return operators.serves(Layer.of(x, w, sigma, (1, 1), (0, 0), 1, profile))

    assert serves(x.float(), w.float())
    assert serves(x.bfloat16(), w.bfloat16())
    assert not serves(x, w)
    assert not serves(x.float(), w.float()[:, :1])


def test_pieces(variant, monkeypatch):
    """Every way of cutting: tiles, rows of tiles at a time, and tables of some channels at a time."""
    x, (w, mu) = images(3, 20, 50, 44), units(70, 20, 2)
    expected = gradients([x, w, mu], algorithm="dense")
    monkeypatch.setattr(planning, "_cost", lambda *args: -args[-2].inputs.count - args[-1].inputs.count)
    for spectra, tables in itertools.product((1 - (1 << 40), 64 << 20), (1, 16 << 20)):
        monkeypatch.setattr(native, "SPECTRA", spectra)
        monkeypatch.setattr(native, "TABLES", tables)
        planning.plan.cache_clear()
        got = gradients([t.float() for t in (x, w, mu)], algorithm="spectral")
        for a, b in zip(got, expected, strict=True):
            assert relative(a, b) < 2e-6
    planning.plan.cache_clear()


def test_many_channels_and_images(variant):
    """Several steps of channels, and two panels of images, forward and in the adjoint."""
    x, (w, mu) = images(67, 270, 3, 2), units(140, 270, 1, bound=1)
    expected = gradients([x, w, mu], algorithm="dense")
    got = gradients([t.float() for t in (x, w, mu)], algorithm="spectral")
    for a, b in zip(got, expected, strict=True):
        assert relative(a, b) < 2e-6


@pytest.mark.parametrize(
    ("shape", "outputs", "stride", "padding", "groups"),
    [((2, 40, 9, 11), 33, 1, 0, 1), ((1, 36, 40, 50), 2, (2, 1), (1, -2), 2), ((3, 32, 7, 7), 64, 1, 3, 1)],
    ids=str,
)
def test_layouts_of_memory(variant, shape, outputs, stride, padding, groups):
    """Images in channels_last are read and written where they lie, with the same result."""
    x, (w, mu), bias = images(*shape).float(), units(outputs, shape[1] // groups, 2), images(outputs).float()
    options = {"stride": stride, "padding": padding, "groups": groups, "max_displacement": 4, "algorithm": "spectral"}
    results = []
    for view in (x, x.contiguous(memory_format=torch.channels_last)):
        leaves = [t.requires_grad_() for t in (view.clone(), w.float(), mu.float(), bias)]
        output = dau_conv2d(*leaves[:3], 0.5, leaves[3], **options)
        upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
        results.append([output, *torch.autograd.grad(output, leaves, upstream)])
        for t in results[-1][:2]:
            assert t.is_contiguous(memory_format=torch.channels_last if view is not x else torch.contiguous_format)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_the_number_of_threads_changes_no_bit(variant):
    inputs = [t.float() for t in (images(3, 20, 20, 24), *units(70, 20, 2))]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(gradients(inputs, algorithm="spectral"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("form", ["bilinear", "gaussian"])
def test_a_bad_displacement_spoils_its_own_outputs_only(variant, form):
    x, (w, mu) = images(2, 8, 20, 9).float(), (t.float() for t in units(4, 8, 2))
    options = {"max_displacement": 4, "interpolation": form, "algorithm": "spectral"}
    clean = dau_conv2d(x, w, mu, **options)
    mu[2, 1, 0, 1] = torch.nan
    output = dau_conv2d(x, w, mu, **options)
    assert output[:, 2].isnan().all()
    torch.testing.assert_close(output[:, [0, 1, 3]], clean[:, [0, 1, 3]], rtol=0, atol=0)


def test_after_a_fork(variant):
    """As in a worker of a data loader, which has one thread, after the parent has used several."""
    x, (w, mu) = images(2, 8, 20, 20).float(), (t.float() for t in units(8, 8, 2))
    expected = dau_conv2d(x, w, mu, algorithm="spectral")
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os._exit(0 if torch.equal(dau_conv2d(x, w, mu, algorithm="spectral"), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_library_that_the_processor_cannot_run_is_passed_over(monkeypatch):
    def load(path):
        return SimpleNamespace(
            torchdau_interface=lambda: kernels_module.INTERFACE, torchdau_runs=lambda: "amx" not in path
        )

    monkeypatch.delenv("TORCHDAU_KERNELS", raising=False)
    monkeypatch.setattr(kernels_module, "built", lambda: [Path("kernels_amx.so"), Path("kernels_avx512.so")])
    monkeypatch.setattr(kernels_module.ctypes, "CDLL", load)
    monkeypatch.setattr(kernels_module, "parallel_for", lambda: 0)
    assert kernels_module._find().reason == "kernels_avx512.so"


@pytest.mark.parametrize("reason", [NOT_BUILT, TURNED_OFF])
def test_without_kernels(monkeypatch, reason):
    """PyTorch computes the same; how to get the kernels is said once, where somebody might not know."""
    x, (w, mu) = images(2, 8, 20, 20).float(), (t.float() for t in units(8, 8, 2))
    expected = dau_conv2d(x, w, mu, algorithm="spectral")
    monkeypatch.setattr(kernels_module, "kernels", lambda: Kernels(None, reason))
    kernels_module.advise.cache_clear()
    operators._task.cache_clear()  # where there are none anyway, the layer is known already
    if reason == NOT_BUILT:
        with pytest.warns(UserWarning, match="Install a C\\+\\+ compiler") as caught:
            dau_conv2d(x, w, mu, algorithm="spectral")
        assert str(caught[0].message) == ADVICE
    torch.testing.assert_close(dau_conv2d(x, w, mu, algorithm="spectral"), expected)
    kernels_module.advise.cache_clear()


@pytest.mark.parametrize("algorithm", ["spectral", "direct"])
@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16], ids=str)
def test_the_default_type_changes_nothing(variant, algorithm, default):
    inputs = [t.float() for t in (images(2, 8, 12, 12), *units(8, 8, 2))]
    expected = gradients(inputs, algorithm=algorithm)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(default)
        got = [dau_conv2d(*inputs, max_displacement=4.0, algorithm=algorithm)]
    finally:
        torch.set_default_dtype(before)
    torch.testing.assert_close(got[0], expected[0])


def test_an_exported_direct_layer_runs_elsewhere(monkeypatch):
    """Where the kernels or the type of another machine are not there, the registered operator is the spectral one."""
    x, (w, mu) = images(2, 8, 9, 9), units(4, 8, 2)
    sigma, options = torch.tensor(0.5, dtype=x.dtype), ([1, 1], [0, 0], 1, "bilinear", "smooth", 4.0, 0.5)
    expected = dau_conv2d(x, w, mu, sigma, max_displacement=4, algorithm="dense")
    torch.testing.assert_close(torch.ops.torchdau.direct(x, w, mu, sigma, None, *options), expected)
    monkeypatch.setattr(kernels_module, "kernels", lambda: Kernels(None, TURNED_OFF))
    single = [t.float() for t in (x, w, mu, sigma)]
    torch.testing.assert_close(torch.ops.torchdau.direct(*single, None, *options), expected.float())


def test_without_python(tmp_path):
    """The program that also runs on emulated processors: tests/kernels/check.cpp says how."""
    compiler = next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    program = tmp_path / "check"
    source = ROOT / "tests" / "kernels" / "check.cpp"
    subprocess.run([compiler, "-std=c++17", "-O1", str(source), "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("compiler", "said"), [("missing-compiler", "No such file"), ("false", "installing without")])
def test_installation_without_a_compiler(tmp_path, compiler, said):
    shutil.copy(ROOT / "hatch_build.py", tmp_path)
    shutil.copytree(ROOT / "torchdau" / "kernels", tmp_path / "torchdau" / "kernels")
    command = [sys.executable, "hatch_build.py"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"CXX": compiler}, capture_output=True, text=True)
    assert done.returncode == 1
    assert said in done.stderr
    assert not list(tmp_path.rglob("*.so"))  # none that is older than its source
