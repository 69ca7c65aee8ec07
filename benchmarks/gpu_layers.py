"""Measurements of layers for benchmarks/gpu.py: functions that yield names and figures."""

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from gpu_machine import Machine
from gpu_page import Figures
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import torchdau

ALGORITHM = "spectral" if "--smoke" in sys.argv else "auto"
KINDS = (("bf16", torch.bfloat16), ("TF32", torch.float32))

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

# channels in, channels out, pixels, stride, groups, batch, kernels of the convolutions
FEW = {
    "3 to 64 at 224, stride 2": (3, 64, 224, 2, 1, 128, (7,)),
    "depthwise, 96 at 56": (96, 96, 56, 1, 96, 64, (3, 5, 7)),
    "depthwise, 384 at 14": (384, 384, 14, 1, 384, 64, (3, 5, 7)),
    "32 groups, 128 at 56": (128, 128, 56, 1, 32, 64, (3,)),
    "16 at 32": (16, 16, 32, 1, 1, 128, (3,)),
}
FEW_SMALL = {"depthwise, 2 at 3": (2, 2, 3, 1, 2, 1, (3,))}


def layers(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Measure layers beside cuDNN's 3 x 3 in both layouts, and torchvision's deform_conv2d in float32."""
    for name, (i, o, size, stride, batch) in (SMALL if machine.smoke else LAYERS).items():
        for kind, dtype in KINDS[: 1 if machine.smoke else 2]:
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


def _units(i: int, o: int, stride: int) -> torchdau.DAUConv2d:
    return torchdau.DAUConv2d(i, o, num_units=2, stride=stride, bias=False, algorithm=ALGORITHM)


def _times(machine: Machine, layer: nn.Module, image: Tensor) -> Figures:
    """Return the times of a forward pass and of a training step (forward and backward, with all gradients).

    Calls from Python include its overhead, which dominates in small layers. Calls in a CUDA graph show the GPU's time
    alone.
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
    """Return a layer with two learned positions per filter in a kernel of 9 x 9, as far as units reach here."""
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


def few_channels(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Measure layers with few channels in a group, by "auto" and by dense, beside convolutions in both layouts."""
    for name, (i, o, size, stride, groups, batch, kernels) in (FEW_SMALL if machine.smoke else FEW).items():
        for kind, dtype in KINDS[: 1 if machine.smoke else 2]:
            makes: dict[str, Callable[[], nn.Module]] = {
                f"units {algorithm}": partial(
                    torchdau.DAUConv2d, i, o, stride=stride, groups=groups, bias=False, algorithm=algorithm
                )
                for algorithm in ("auto", "dense")
            }
            for k in kernels:
                makes[f"conv {k} x {k}"] = partial(
                    nn.Conv2d, i, o, k, stride, padding=k // 2, groups=groups, bias=False
                )
            figures: Figures = {}
            for (label, make), layout in itertools.product(
                makes.items(), (torch.contiguous_format, torch.channels_last)
            ):
                image = torch.randn(batch, i, size, size, device=machine.device, dtype=dtype)
                layer = make().to(machine.device, dtype).to(memory_format=layout)
                for column, value in _times(machine, layer, image.contiguous(memory_format=layout)).items():
                    figures[f"{label} {str(layout).removeprefix('torch.')} {column}"] = value
            yield f"{name} {kind}", figures


def kernels(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Measure the time of each kernel in a training step, bf16 and channels_last; do nothing without a GPU."""
    for name, (i, o, size, stride, batch) in ({} if machine.smoke else LAYERS).items():
        layer = _units(i, o, stride).to(machine.device, torch.bfloat16)
        image = torch.randn(batch, i, size, size, device=machine.device, dtype=torch.bfloat16)
        image = image.contiguous(memory_format=torch.channels_last).requires_grad_()
        grad, leaves = torch.randn_like(layer(image)), [image, *layer.parameters()]
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            for _ in range(10):
                torch.autograd.grad(layer(image), leaves, grad)
        rows = sorted(profiler.key_averages(), key=lambda row: -row.device_time_total)[:12]
        yield name, {f"{row.key[:40]} us": row.device_time_total / 10 for row in rows}


def _frozen(layer: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.no_grad():
            return layer(x)

    return call


def large(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """Measure time and memory for one image of 1024 x 2048 pixels."""
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
    """Measure one image in a CUDA graph."""
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
