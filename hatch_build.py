"""Build of the native kernels, when the package is installed or a wheel is made; a compiler is optional.

    python hatch_build.py        builds them in place, for work on the kernels

The compiler is ``$CXX``, or the first found of c++, g++ and clang++. A wheel with kernels is for one platform and any
version of Python 3 and PyTorch.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "torchdau" / "kernels"
FLAGS = "-std=c++17 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -fvisibility=hidden -shared -fPIC"
AVX512 = "-mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mprefer-vector-width=512"
AMX = {"amx": f"{AVX512} -mavx512bf16 -mamx-tile -mamx-bf16"} if sys.platform == "linux" else {}
X86 = {**AMX, "avx512": AVX512, "avx2": "-mavx2 -mfma", "baseline": ""}
VARIANTS = X86 if platform.machine().lower() in ("x86_64", "amd64") else {"baseline": ""}
"""Flags by the name of a library; torchdau/kernels/__init__.py selects the library for a processor."""


def build() -> list[Path]:
    """Compile the libraries; if that fails, print the reason to stderr and return an empty list."""
    libraries = [FOLDER / f"kernels_{name}.so" for name in VARIANTS]
    for library in libraries:  # no library may be older than its sources
        library.unlink(missing_ok=True)
    command = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if command is None:
        print("torchdau: no C++ compiler found; installing without native kernels.", file=sys.stderr)
        return []

    def compile_library(library: Path, flags: str) -> None:
        sources = map(str, sorted(FOLDER.glob("*.cpp")))
        arguments = [*shlex.split(command), *FLAGS.split(), *flags.split(), *sources, "-o", str(library)]
        subprocess.run(arguments, check=True, capture_output=True, text=True)

    try:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(compile_library, libraries, VARIANTS.values()))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        print(f"torchdau: {command} failed; installing without native kernels.\n{reason}", file=sys.stderr)
        for library in libraries:
            library.unlink(missing_ok=True)
        return []
    return libraries


class KernelsHook(BuildHookInterface):
    """Build hook that adds the kernels to the wheel, or beside their sources in an editable installation."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the kernels before hatchling makes a wheel."""
        if self.target_name != "wheel" or sys.platform == "win32":
            return
        libraries = build()
        if libraries:
            build_data["artifacts"] += [f"torchdau/kernels/{library.name}" for library in libraries]
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


if __name__ == "__main__":
    sys.exit(0 if build() else 1)
