"""The command ``torchdau env``: what a bug report should say about the machine."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterator, Sequence

from torchdau_cli.options import run

PACKAGES = ("torchdau", "torch", "torchvision", "lightning", "timm", "triton")


def main(args: Sequence[str]) -> None:
    """Run the command with the options of :func:`env`."""
    run(env, args)


def env() -> None:
    """Show versions, the machine, and which native kernels are in use."""
    for name, value in (*_versions(), *_machine()):
        sys.stdout.write(f"{name:12}  {value}\n")
        sys.stdout.flush()  # versions at once, although torch takes seconds to import
    from torchdau.kernels import ADVICE, TURNED_OFF, kernels

    if kernels().library is None and kernels().reason != TURNED_OFF:
        sys.stdout.write(f"\n{ADVICE}\n")


def _versions() -> Iterator[tuple[str, str]]:
    installed = {d.name.lower() for d in importlib.metadata.distributions() if d.name}
    yield from ((name, importlib.metadata.version(name)) for name in PACKAGES if name in installed)
    yield "python", platform.python_version()
    yield "platform", platform.platform()


def _machine() -> Iterator[tuple[str, str]]:
    import torch

    from torchdau import gpu
    from torchdau.kernels import kernels

    state = kernels()
    yield "processor", f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    yield "threads", str(torch.get_num_threads())
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    yield (
        "accelerator",
        torch.cuda.get_device_name() if torch.cuda.is_available() else str(accelerator or "none").lower(),
    )
    yield "GPU kernels", gpu.reason()
    yield "CPU kernels", state.reason if state.library is None else f"{state.reason}, in float32 and below"
