"""The command ``torchdau env``: what a report of a problem should say about the machine."""

import importlib.metadata
import platform
import sys

import torch

from torchdau import gpu
from torchdau.kernels import ADVICE, TURNED_OFF, kernels


def describe() -> dict[str, str]:
    """Versions, processor and native kernels, by name."""
    version = importlib.metadata.version
    installed = {d.name.lower() for d in importlib.metadata.distributions() if d.name}
    others = ("torchvision", "lightning", "timm", "triton")
    state = kernels()
    return {
        "torchdau": version("torchdau"),
        "torch": torch.__version__,
        **{name: version(name) for name in others if name in installed},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "GPU kernels": gpu.reason(),
        "CPU kernels": state.reason if state.library is None else f"{state.reason}, in float32 and below",
    }


def main() -> None:
    """Prints the description."""
    description = describe()
    width = max(map(len, description))
    sys.stdout.write("".join(f"{name:{width}}  {value}\n" for name, value in description.items()))
    if kernels().library is None and kernels().reason != TURNED_OFF:
        sys.stdout.write(f"\n{ADVICE}\n")
