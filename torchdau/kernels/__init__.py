"""The native kernels: which library is in use on this machine, and why; no mathematics and no shapes.

The kernels are plain C functions in a shared library for each kind of processor. ``hatch_build.py`` builds them when
the package is installed, if there is a compiler. They need no version of Python or PyTorch: they take pointers, and use
PyTorch's threads through its stable C interface.
"""

import ctypes
import functools
import os
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from torchdau.workspace import address

VARIANTS = {"AVX512": ("amx", "avx512", "avx2", "baseline"), "AVX2": ("avx2", "baseline")}
"""Usable libraries, the fastest first, by the processor's capability in torch; any processor has the baseline."""

INTERFACE = 8
"""Version of the arguments of a library's functions; ``spectral.cpp`` has the same number."""

NOT_BUILT = "not built"
TURNED_OFF = "turned off by TORCHDAU_KERNELS=0"

ADVICE = (
    "The native kernels of torchdau do not serve (torchdau env says why), so units are computed with plain PyTorch, "
    "several times slower. Install a C++ compiler (GCC 12 or Clang 15, or newer), then torchdau again as you installed "
    "it, with the options --force-reinstall --no-deps --no-cache-dir --no-binary torchdau"
)


class Kernels(NamedTuple):
    """The state of the kernels in this process.

    Attributes:
        library: the library, or None if PyTorch computes.
        reason: name of the library, or why there is none.
    """

    library: ctypes.CDLL | None
    reason: str


@functools.cache
def parallel_for() -> int:
    """Return the address of PyTorch's own parallel loop, which is already loaded."""
    function = ctypes.CDLL(torch._C.__file__).torch_parallel_for
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def built() -> list[Path]:
    """Return the libraries that were built for a processor like this one, the fastest first."""
    variants = VARIANTS.get(torch.backends.cpu.get_cpu_capability(), ("baseline",))
    return [path for name in variants if (path := Path(__file__).with_name(f"kernels_{name}.so")).exists()]


def _find() -> Kernels:
    if os.environ.get("TORCHDAU_KERNELS") == "0":
        return Kernels(None, TURNED_OFF)
    reason = NOT_BUILT
    for path in built():
        try:
            library = ctypes.CDLL(str(path))
            if library.torchdau_interface() != INTERFACE:
                raise OSError("it was built from other sources")
            if not library.torchdau_runs():
                raise OSError("the processor or the system lacks what it needs")
            parallel_for()
            return Kernels(library, path.name)
        except (AttributeError, OSError) as error:
            reason = f"not usable: {path.name}: {error}"
    return Kernels(None, reason)


_FOUND = _find()

LANES: int = _FOUND.library.torchdau_lanes() if _FOUND.library else 16
"""Numbers that the kernels of this process compute together, on which their time depends."""


def kernels() -> Kernels:
    """Return the kernels in use in this process; ``TORCHDAU_KERNELS=0`` in the environment turns them off."""
    return _FOUND


def available() -> bool:
    """Return whether this process has kernels."""
    return kernels().library is not None


def in_bfloat16() -> bool:
    """Return whether the kernels compute images in bfloat16, which takes a processor with AMX."""
    return _has(kernels().library, "spectral_forward_bfloat16")


@functools.cache
def _has(library: Any, name: str) -> bool:
    return hasattr(library, f"torchdau_{name}")


def call(name: str, layer: ctypes.Structure, tensors: Sequence[Tensor | None]) -> None:
    """Call a kernel with its arguments, its tensors (contiguous, in its types) and the memory that it asks for."""
    function, arguments = _function(kernels().library, name), ctypes.byref(layer)
    memory = address("kernels", function(arguments, None, None))
    pointers = struct.pack(f"{len(tensors)}P", *[0 if t is None else t.data_ptr() for t in tensors])
    function(arguments, pointers, memory)


@functools.cache
def _function(library: Any, name: str) -> Callable[..., int]:
    function = library[f"torchdau_{name}"]
    function.restype, function.argtypes = ctypes.c_int64, [ctypes.c_void_p] * 3
    return cast("Callable[..., int]", function)


@functools.cache
def advise() -> None:
    """Warn once that the kernels are missing, and how to get them, unless they are turned off."""
    if kernels().reason != TURNED_OFF and sys.platform != "win32":
        warnings.warn(ADVICE, stacklevel=2)
