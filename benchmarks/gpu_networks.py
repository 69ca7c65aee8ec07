"""Measurements of whole networks for benchmarks/gpu.py, and the tests that it runs."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gpu_machine import Machine
from gpu_page import Figures
from torch import Tensor

import torchdau

ROOT = Path(__file__).parents[1]


def tests(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Run the tests of the kernels."""
    small = ["tests/algorithms/test_gpu_direct.py", "-k", "which_layers_fit"]
    yield "tests of the kernels", _tested(small if machine.smoke else ["tests/algorithms", "-k", "gpu"])


def operator_tests(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Run the tests of the operator on the GPU, with every algorithm; last, for they take minutes."""
    if not machine.smoke:
        yield "tests of the operator", _tested(["tests/test_operator.py"], TORCHDAU_TEST_DEVICE="cuda")


def _tested(selected: list[str], **environment: str) -> Figures:
    selected = [*selected, "-n", str(min(8, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else selected
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "ignore"]
    environment = os.environ | environment
    done = subprocess.run([*command, *selected], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    return {"result": (done.stdout.strip().splitlines() or ["no output"])[-1], "failed": ", ".join(failed)}


def networks(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Measure ResNet-50, channels_last: first step and the kernels it compiles, training step, inference, memory.

    Units replace every 3 x 3, as in the paper, and then the 7 x 7 at its beginning as well.
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
