"""What the tests of native and of Triton kernels start from."""

import ctypes

import pytest
import torch

from tests.algorithms.gpu import DEVICE
from tests.algorithms.libraries import AVAILABLE
from torchdau import kernels
from torchdau.algorithms.direct import native
from torchdau.algorithms.direct.choice import LANES_FORWARD
from torchdau.algorithms.spectral import operators, triton
from torchdau.kernels import Kernels


@pytest.fixture(params=AVAILABLE)
def variant(request, monkeypatch):
    """Each library of native kernels that this processor can run."""
    library = ctypes.CDLL(str(AVAILABLE[request.param]))
    monkeypatch.setattr(kernels, "kernels", lambda: Kernels(library, request.param))
    return request.param


@pytest.fixture(params=["narrow", "blurred", "lanes"])
def kernel(request, monkeypatch):
    """A kernel for all layers that it can compute, and what goes with it on the way back."""

    def forward(shape):
        return "blurred" if request.param == "lanes" and shape.stride not in LANES_FORWARD else request.param

    def backward(shape):
        return None if request.param == "blurred" or forward(shape) == "blurred" else request.param

    monkeypatch.setattr(native, "forward_kernel", forward)
    monkeypatch.setattr(native, "backward_kernel", backward)
    monkeypatch.setattr(native, "_task", native._task.__wrapped__)  # not those that were made before
    return request.param


@pytest.fixture
def patched_once(monkeypatch):
    """The interpreter patches Triton's language at every call of every function, which is half of its time."""
    if DEVICE == "cuda":
        yield
        return
    from triton.runtime import interpreter

    patch, language = interpreter._patch_lang, (interpreter.tl, interpreter.tl.core)
    scopes = {}

    def patch_once(fn):
        modules = tuple(name for name, value in fn.__globals__.items() if any(value is each for each in language))
        if modules not in scopes:
            scopes[modules] = patch(fn)
        return interpreter._LangPatchScope()

    monkeypatch.setattr(interpreter, "_patch_lang", patch_once)
    yield
    for scope in reversed(scopes.values()):
        scope.restore()


@pytest.fixture
def tensor_cores(monkeypatch, patched_once):
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
    """The Triton kernels compute what the spectral algorithm is asked for, as exactly as they can."""
    from torchdau.algorithms.spectral.triton import task

    used = []
    make = task.Task.__init__
    monkeypatch.setattr(task.Task, "__init__", lambda *args: used.append(args) or make(*args))
    monkeypatch.setattr(triton, "fits", lambda *args: True)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before
    operators._task.cache_clear()
    assert used
