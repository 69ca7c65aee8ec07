"""What benchmarks/gpu.py measures: each function yields the names and figures of one part."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gpu_page import Figures
from torch import Tensor, nn

import torchdau

ROOT = Path(__file__).parents[1]
ALGORITHM = "spectral" if "--smoke" in sys.argv else "auto"

# channels in, channels out, pixels, stride, batch
LAYERS = {
    "64 at 56": (64, 64, 56, 1, 256),
    "128 at 28": (128, 128, 28, 1, 256),
    "256 at 14": (256, 256, 14, 1, 256),
    "512 at 7": (512, 512, 7, 1, 256),
    "128 at 56, stride 2": (128, 128, 56, 2, 256),
    "256 at 14, one image": (256, 256, 14, 1, 1),
}
SMALL = {"2 at 3": (2, 2, 3, 1, 1)}


class Machine:
    """The GPU, or a CPU for the smoke test: measures the time and the memory of a call."""

    def __init__(self, smoke: bool) -> None:
        self.smoke = smoke
        self.device = "cpu" if smoke else "cuda"
        self.name = "smoke test on a CPU" if smoke else torch.cuda.get_device_name()

    def milliseconds(self, call: Callable[[], object]) -> float:
        """The median time of a call."""
        if not self.smoke:
            from triton.testing import do_bench

            return float(do_bench(call, warmup=20, rep=60, return_mode="median"))
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)

    def graph_milliseconds(self, call: Callable[[], object]) -> float:
        """The time of a call that was recorded as a CUDA graph."""
        if self.smoke:
            return 1.0
        from triton.testing import do_bench_cudagraph

        return float(do_bench_cudagraph(call, rep=30))

    def peak(self, call: Callable[[], object]) -> float:
        """Return the peak of allocated GPU memory in gigabytes."""
        if self.smoke:
            return 1.0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 1e9


def tests(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """The tests of the kernels."""
    yield "tests of the kernels", _tested(["tests/algorithms", "-k", "which_layers_fit" if machine.smoke else "gpu"])


def operator_tests(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """The tests of the operator on the GPU, with every algorithm; last, for they take minutes."""
    if not machine.smoke:
        yield "tests of the operator", _tested(["tests/test_operator.py"], TORCHDAU_TEST_DEVICE="cuda")


def _tested(selected: list[str], **environment: str) -> Figures:
    selected = [*selected, "-n", "8"] if importlib.util.find_spec("xdist") else selected
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "ignore"]
    environment = os.environ | environment
    done = subprocess.run([*command, *selected], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    return {"result": (done.stdout.strip().splitlines() or ["no output"])[-1], "failed": ", ".join(failed)}


def layers(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Layers beside cuDNN's 3 x 3 in both layouts, and torchvision's deform_conv2d in float32."""
    for name, (i, o, size, stride, batch) in (SMALL if machine.smoke else LAYERS).items():
        for kind, dtype in (("bf16", torch.bfloat16), ("TF32", torch.float32)):
            x = torch.randn(batch, i, size, size, device=machine.device, dtype=dtype)
            models = {
                "conv NCHW": (nn.Conv2d(i, o, 3, stride, padding=1, bias=False), torch.contiguous_format),
                "conv channels_last": (nn.Conv2d(i, o, 3, stride, padding=1, bias=False), torch.channels_last),
                "units NCHW": (_units(i, o, stride), torch.contiguous_format),
                "units channels_last": (_units(i, o, stride), torch.channels_last),
            }
            figures: Figures = {}
            for label, (layer, layout) in models.items():
                layer = layer.to(machine.device, dtype).to(memory_format=layout)
                image = x.contiguous(memory_format=layout)
                for column, value in _times(machine, layer, image).items():
                    figures[f"{label} {column}"] = value
            if not machine.smoke:
                figures["deform_conv2d float32 forward"] = _deformed(machine, i, o, size, stride, batch)
                if importlib.util.find_spec("DCLS"):
                    figures["DCLS forward"] = machine.milliseconds(_frozen(_dcls(i, o, stride).to("cuda", dtype), x))
            yield f"{name} {kind}", figures


def _units(i: int, o: int, stride: int, groups: int = 1) -> torchdau.DAUConv2d:
    return torchdau.DAUConv2d(i, o, 2, stride=stride, groups=groups, bias=False, algorithm=ALGORITHM)


def _times(machine: Machine, layer: nn.Module, image: Tensor) -> Figures:
    """Return the times of a forward pass and of a training step (forward and backward, with all gradients).

    Called from Python, where a small layer waits for its calls, and in a CUDA graph, which has the GPU's time alone.
    """
    inference = _frozen(layer, image)
    leaf = image.clone(memory_format=torch.preserve_format).requires_grad_()
    grad = torch.randn_like(inference())
    leaves = [leaf, *layer.parameters()]

    def train() -> object:
        return torch.autograd.grad(layer(leaf), leaves, grad)

    return {
        "forward": machine.milliseconds(inference),
        "training": machine.milliseconds(train),
        "graph forward": machine.graph_milliseconds(inference),
        "graph training": machine.graph_milliseconds(train),
    }


def _dcls(i: int, o: int, stride: int) -> nn.Module:
    """Two learned positions per filter in a kernel of 9 x 9, as far as units reach here."""
    from DCLS.construct.modules import Dcls2d

    layer: nn.Module = Dcls2d(
        i, o, kernel_count=2, dilated_kernel_size=9, stride=stride, padding=4, bias=False, version="v1"
    )
    return layer


def _deformed(machine: Machine, i: int, o: int, size: int, stride: int, batch: int) -> float:
    from torchvision.ops import deform_conv2d

    x, w = torch.randn(batch, i, size, size, device="cuda"), torch.randn(o, i, 3, 3, device="cuda")
    outputs = (size - 1) // stride + 1
    offset = torch.randn(batch, 18, outputs, outputs, device="cuda")
    return machine.milliseconds(lambda: deform_conv2d(x, offset, w, stride=stride, padding=1))


def depthwise(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Depthwise layers beside 3 x 3, 5 x 5 and 7 x 7."""
    c, size, batch = (2, 3, 1) if machine.smoke else (96, 56, 64)
    x = torch.randn(batch, c, size, size, device=machine.device)
    layers: dict[str, nn.Module] = {"units": _units(c, c, 1, c)}
    layers |= {f"conv {k} x {k}": nn.Conv2d(c, c, k, padding=k // 2, groups=c, bias=False) for k in (3, 5, 7)}
    figures: Figures = {}
    for label, layer in layers.items():
        for column, value in _times(machine, layer.to(machine.device), x).items():
            figures[f"{label} {column}"] = value
    yield f"depthwise {c} at {size}, batch {batch}, TF32", figures


def _frozen(layer: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.no_grad():
            return layer(x)

    return call


def large(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """One image of 1024 x 2048 pixels: time and memory."""
    c, *size = (2, 9, 17) if machine.smoke else (64, 1024, 2048)
    x = torch.randn(1, c, *size, device=machine.device)
    for label, layer in (("units", _units(c, c, 1)), ("conv", nn.Conv2d(c, c, 3, padding=1, bias=False))):
        call = _frozen(layer.to(machine.device), x)
        yield (
            f"one image {c} x {size[0]} x {size[1]}, TF32, {label}",
            {
                "forward": machine.milliseconds(call),
                "peak GB": machine.peak(call),
            },
        )


def graphs(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """One image in a CUDA graph."""
    c, size = (2, 3) if machine.smoke else (256, 14)
    for label, layer in (("units", _units(c, c, 1)), ("conv", nn.Conv2d(c, c, 3, padding=1, bias=False))):
        layer, x = layer.to(machine.device, torch.bfloat16), torch.randn(1, c, size, size, device=machine.device)
        call = _frozen(layer, x.bfloat16())
        yield (
            f"one image {c} at {size}, bf16, {label}",
            {
                "eager": machine.milliseconds(call),
                "CUDA graph": machine.graph_milliseconds(call),
            },
        )


def networks(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """ResNet-50, channels_last: first step and the kernels it compiles, training step, inference, memory.

    Units stand for every 3 x 3, as in the paper, and then for the 7 x 7 at its beginning as well.
    """
    kinds = ("bf16", "TF32", "bf16, compiled") if not machine.smoke else ("bf16",)
    for kind in kinds:
        for label in ("convolutions", "units", "units everywhere") if kind == "bf16" else ("convolutions", "units"):
            yield f"ResNet-50 {label}, {kind}", _network(machine, label, kind)


def _network(machine: Machine, label: str, kind: str) -> Figures:
    import timm

    name, batch, size, classes = ("test_resnet", 2, 32, 10) if machine.smoke else ("resnetv2_50", 128, 224, 1000)
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=classes)
    if label != "convolutions":
        everywhere = label == "units everywhere"
        torchdau.convert_(model, num_units=2, select=lambda _, conv: everywhere or conv.kernel_size == (3, 3))
    model = model.to(machine.device).to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, size, size, device=machine.device).contiguous(memory_format=torch.channels_last)
    target = torch.randint(classes, (batch,), device=machine.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    run = torch.compile(model) if "compiled" in kind else model

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(machine.device, torch.bfloat16, enabled="bf16" in kind):
            loss = F.cross_entropy(run(x), target)
        loss.backward()
        optimizer.step()

    def infer(images: Tensor = x) -> None:
        with torch.no_grad(), torch.autocast(machine.device, torch.bfloat16, enabled="bf16" in kind):
            run(images)

    start, compiled = time.perf_counter(), len(COMPILED)
    step()
    if not machine.smoke:
        torch.cuda.synchronize()
    figures: Figures = {"first step s": time.perf_counter() - start, "kernels of units": str(len(COMPILED) - compiled)}
    figures |= {"peak GB": machine.peak(step), "training ms": machine.milliseconds(step)}
    model.eval()
    figures["inference ms"] = machine.milliseconds(infer)
    if "compiled" not in kind:
        figures["inference in a CUDA graph ms"] = machine.graph_milliseconds(infer)
        figures["one image in a CUDA graph ms"] = machine.graph_milliseconds(lambda: infer(x[:1]))
    return figures


COMPILED: list[str] = []
"""Names of the kernels of this project that were compiled, or found in Triton's cache."""


def count_compiled() -> None:
    from triton import knobs

    def compiled(*args: Any, **options: Any) -> None:
        name = str(options["repr"])
        if name.startswith(("_analysis", "_synthesis", "_spectra", "_gradients", "_product")):
            COMPILED.append(name)

    knobs.runtime.jit_post_compile_hook = compiled


PARTS = (tests, networks, layers, graphs, large, depthwise, operator_tests)
