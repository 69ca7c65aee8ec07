"""Everything that is measured on a GPU, in one command of at most seven minutes.

    python benchmarks/gpu.py [--folder runs/gpu] [--smoke]

Every figure is appended to ``results.jsonl`` in the folder as soon as it is there, and ``page.md`` is written from
them. A second run in the same folder goes on where the first was stopped. ``--smoke`` runs everything small on a CPU.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if "--smoke" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torchdau

ROOT = Path(__file__).parents[1]
ALGORITHM = "spectral" if "--smoke" in sys.argv else "auto"
SECONDS = 400
"""After this many seconds no further measurement is started; a second run in the same folder goes on."""

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
COLUMNS = ("forward", "training")
Figures = dict[str, float | str]


class Machine:
    """Where it is measured, and how long a call takes there."""

    def __init__(self, smoke: bool) -> None:
        self.smoke = smoke
        self.device = "cpu" if smoke else "cuda"
        self.name = "smoke test on a CPU" if smoke else torch.cuda.get_device_name()

    def milliseconds(self, call: Callable[[], object]) -> float:
        """The median time of a call."""
        if not self.smoke:
            from triton.testing import do_bench

            return float(do_bench(call, warmup=20, rep=60, return_mode="median"))
        call()
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)

    def graph_milliseconds(self, call: Callable[[], object]) -> float:
        """The time of a call that was recorded as a CUDA graph."""
        if self.smoke:
            return self.milliseconds(call)
        from triton.testing import do_bench_cudagraph

        return float(do_bench_cudagraph(call, rep=30))

    def peak(self, call: Callable[[], object]) -> float:
        """Gigabytes of GPU memory that are taken at the most."""
        if self.smoke:
            call()
            return 0.0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 1e9


def tests(machine: Machine) -> Iterator[tuple[str, Figures]]:
    """The tests that have a form for the GPU: of the kernels, and of the operator with every algorithm."""
    compiling = "tests/algorithms/test_gpu.py::test_compiles_for_gpus_that_are_not_here"
    kernels = ["tests/algorithms/test_gpu.py", "--deselect", compiling]
    if machine.smoke:
        yield "tests of the kernels", _tested([*kernels, "-k", "which_layers_fit"])
        return
    workers = ["-n", "8"] if importlib.util.find_spec("xdist") else []
    yield "tests of the kernels", _tested([*kernels, *workers])
    yield "tests of the operator", _tested(["tests/test_operator.py", *workers], TORCHDAU_TEST_DEVICE="cuda")


def _tested(selected: list[str], **environment: str) -> Figures:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "ignore"]
    environment = os.environ | environment
    done = subprocess.run([*command, *selected], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
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
    """Forward and training time; the latter is forward and backward, of image and parameters."""
    with torch.no_grad():
        forward = machine.milliseconds(lambda: layer(image))
    image = image.clone(memory_format=torch.preserve_format).requires_grad_()
    grad = torch.randn_like(layer(image))
    leaves = [image, *layer.parameters()]
    return {
        "forward": forward,
        "training": machine.milliseconds(lambda: torch.autograd.grad(layer(image), leaves, grad)),
    }


def _dcls(i: int, o: int, stride: int) -> nn.Module:
    """Two learned positions per filter in a kernel of 9 x 9, as far as units reach here."""
    from DCLS.construct.modules import Dcls2d

    layer: nn.Module = Dcls2d(i, o, kernel_count=2, dilated_kernel_size=9, stride=stride, padding=4, bias=False)
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
    """ResNet-50, channels_last: first step and the kernels it compiles, training step, inference, memory."""
    kinds = ("bf16", "bf16, compiled", "TF32") if not machine.smoke else ("bf16",)
    for kind in kinds:
        for label in ("convolutions", "units"):
            yield f"ResNet-50 {label}, {kind}", _network(machine, label == "units", kind)


def _network(machine: Machine, units: bool, kind: str) -> Figures:
    import timm

    name, batch, size, classes = ("test_resnet", 2, 32, 10) if machine.smoke else ("resnetv2_50", 128, 224, 1000)
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=classes)
    if units:
        torchdau.convert_(model, num_units=2)
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


def _count_compiled() -> None:
    from triton import knobs

    def compiled(*args: Any, **options: Any) -> None:
        name = str(options["repr"])
        if name.startswith(("_analysis", "_synthesis", "_spectra", "_gradients", "_product")):
            COMPILED.append(name)

    knobs.runtime.jit_post_compile_hook = compiled


PARTS = (tests, layers, networks, graphs, large, depthwise)


def page(machine: Machine, results: list[tuple[str, str, Figures]]) -> str:
    """The results as Markdown, with the ratio of units to the faster layout of the convolution."""
    lines = [f"# Measured on a GPU\n\n{_conclusion(results)}\n"]
    lines.append(f"{machine.name}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}, `python benchmarks/gpu.py`.")
    lines.append("Medians, in milliseconds unless a unit is given. Ratios use the faster memory layout of each.\n")
    for part in dict.fromkeys(part for part, _, _ in results):
        lines.append(f"## {part}\n")
        for _, name, figures in (row for row in results if row[0] == part):
            shown = ", ".join(
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items() if v != ""
            )
            ratios = [f"; {column}: {r:.2f} times conv" for column in COLUMNS if (r := _ratio(figures, column))]
            lines.append(f"- **{name}**: {shown}{''.join(ratios)}")
        lines.append("")
    return "\n".join(lines)


def _conclusion(results: list[tuple[str, str, Figures]]) -> str:
    """What the figures say of bfloat16, in a sentence or two."""
    sentences = []
    for column in COLUMNS:
        rows = [figures for part, name, figures in results if part == "layers" and name.endswith("bf16")]
        ratios = [ratio for figures in rows if (ratio := _ratio(figures, column))]
        if ratios:
            low, high = min(ratios), max(ratios)
            sentences.append(
                f"Unit layers take {low:.2f} to {high:.2f} times as long as a 3 x 3 convolution ({column})."
            )
    times = {name: figures for part, name, figures in results if part == "networks"}
    units, plain = (times.get(f"ResNet-50 {label}, bf16", {}) for label in ("units", "convolutions"))
    for column in ("training ms", "inference ms"):
        if column in units and column in plain:
            ratio = float(units[column]) / float(plain[column])
            sentences.append(
                f"A ResNet-50 with units takes {ratio:.2f} times as long as with convolutions ({column[:-3]})."
            )
    return "\n".join(sentences)


def _ratio(figures: Figures, column: str) -> float | None:
    """Time of units over that of the convolution, of the faster layout of each."""
    times = {k: v for k, v in figures.items() if k.endswith(column) and isinstance(v, float)}
    conv = [v for k, v in times.items() if k.startswith("conv ")]
    units = [v for k, v in times.items() if k.startswith("units ")]
    return min(units) / min(conv) if len(conv) == len(units) == 2 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--smoke", action="store_true", help="everything small, on a CPU")
    arguments = parser.parse_args()
    if not arguments.smoke and not torch.cuda.is_available():
        parser.error("there is no GPU here; --smoke runs everything small on a CPU")
    machine = Machine(arguments.smoke)
    _count_compiled()
    if arguments.smoke:
        # by Triton's interpreter, which would take minutes for a network
        torchdau.algorithms.spectral.triton.fits = lambda images, *layer: images.numel() < 400
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / "results.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    results = [(line["part"], line["name"], line["figures"]) for line in lines]
    finished = {part for part, name, _ in results if name == "finished"}
    latest = {row[:2]: row for row in results if row[0] in finished and row[1] != "finished"}
    results = list(latest.values())
    start = time.perf_counter()
    for part in PARTS:
        if part.__name__ in finished:
            continue
        rows: Iterator[tuple[str, Figures]] = part(machine)
        for name, figures in _guarded(rows):
            with file.open("a") as out:
                out.write(json.dumps({"part": part.__name__, "name": name, "figures": figures}) + "\n")
            if name != "finished":
                results.append((part.__name__, name, figures))
            (arguments.folder / "page.md").write_text(page(machine, results))
            seconds = time.perf_counter() - start
            print(f"{seconds:4.0f} s  {part.__name__}: {name} {figures}", flush=True)
            if seconds > SECONDS:
                return


def _guarded(rows: Iterator[tuple[str, Figures]]) -> Iterator[tuple[str, Figures]]:
    """The rows; a failure ends its part, and is a row."""
    try:
        yield from rows
    except Exception as error:
        yield "failed", {"error": f"{type(error).__name__}: {error}"[:500]}
    yield "finished", {}


if __name__ == "__main__":
    main()
