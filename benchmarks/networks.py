"""Speed of whole networks whose convolutions became units.

    uv run python benchmarks/networks.py [NAME ...] [--batch 8 32] [--size 128 224] [--repeats N] [--autocast]
    uv run python benchmarks/networks.py --layers resnet18 --batch 8 --size 128

Measures networks of timm after ``convert_(model, num_units=2)``, the ResNet-20 of CIFAR-10 and the ResNet-18 of CamVid,
which have their own batch and size, beside the same networks with convolutions. Each runs in NCHW and channels_last;
the faster layout counts. Prints medians of inference and of a training step (forward, backward, SGD), which take turns,
and the ratio of units to convolutions. ``--autocast`` computes in bfloat16. ``--layers`` prints the same for each
convolution of a network. The convolutions that lose the most time in a training step come first.
"""

import argparse
import copy
import logging
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import timm
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from torchdau import convert_, convolutions, parameter_groups
from torchdau.models import cifar_resnetv2, dau_cifar_resnetv2, dau_deeplab, deeplab

TIMM = (
    *("resnet18", "resnet50", "mobilenetv3_large_100", "efficientnet_b0", "convnext_atto", "regnety_004"),
    "resnetv2_50",
)
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}

Make = Callable[[], nn.Module]
Step = Callable[[], object]
CAMVID: dict[str, Any] = {"name": "resnetv2_18", "num_classes": 11, "width_factor": 0.5, "width": 64}
OWN: dict[str, tuple[Make, Make, int, int]] = {
    "ResNet-20, CIFAR-10": (partial(cifar_resnetv2, 20), partial(dau_cifar_resnetv2, 20, num_units=2), 128, 32),
    "ResNet-18, CamVid": (partial(deeplab, **CAMVID), partial(dau_deeplab, **CAMVID, spread=False), 8, 176),
}
"""Networks with convolutions and with units, batch size, and pixels along a side."""


def converted(name: str) -> nn.Module:
    return convert_(timm.create_model(name), num_units=2)


def steps(model: nn.Module, images: Tensor, autocast: bool) -> dict[str, Step]:
    """Return inference and a training step of a network or a layer, under ``autocast`` in bfloat16."""
    precision = partial(torch.autocast, "cpu", torch.bfloat16, enabled=autocast)
    optimizer = torch.optim.SGD(parameter_groups(model, lr=1e-4), momentum=0.9)
    images = images.clone(memory_format=torch.preserve_format)
    training_images = images.clone(memory_format=torch.preserve_format)
    training_images.requires_grad_(isinstance(model, nn.Conv2d) or not list(model.children()))

    @torch.inference_mode()
    def inference() -> None:
        with precision():
            model.eval()(images)

    def training() -> None:
        optimizer.zero_grad()
        with precision():
            loss = model.train()(training_images).square().mean()
        loss.backward()
        optimizer.step()

    return {"inference": inference, "training": training}


def milliseconds(steps: dict[tuple[str, str], dict[str, Step]], repeats: int) -> dict[tuple[str, str], float]:
    """Return medians by network (plain or units) and step, in the faster layout; the steps take turns.

    Args:
        steps: by network and layout, steps by name.
        repeats: rounds, after one for warm-up.
    """
    seconds: dict[tuple[str, str, str], list[float]] = {}
    for number in range(repeats + 1):
        for (network, layout), kinds in steps.items():
            for kind, step in kinds.items():
                start = time.perf_counter()
                step()
                if number:
                    seconds.setdefault((network, kind, layout), []).append(time.perf_counter() - start)
    medians: dict[tuple[str, str], float] = {}
    for (network, kind, _), values in seconds.items():
        median = 1000 * statistics.median(values)
        medians[network, kind] = min(medians.get((network, kind), median), median)
    return medians


def compare(
    plain: nn.Module, units: nn.Module, images: Tensor, repeats: int, autocast: bool
) -> dict[tuple[str, str], float]:
    """Return :func:`milliseconds` of two networks."""
    made = {}
    for layout, order in LAYOUTS.items():
        for name, model in {"plain": plain, "units": units}.items():
            model = copy.deepcopy(model).to(memory_format=order)
            made[name, layout] = steps(model, images.contiguous(memory_format=order), autocast)
    return milliseconds(made, repeats)


def cells(medians: dict[tuple[str, str], float]) -> list[str]:
    """Return the times of both networks and their ratio, for inference and for training."""
    row = []
    for kind in ("inference", "training"):
        plain, units = (medians[name, kind] for name in ("plain", "units"))
        row += [f"{plain:.3g}", f"{units:.3g}", f"{units / plain:.2f}"]
    return row


def headings(*first: str) -> Table:
    columns = (f"{kind} {what}" for kind in ("inference", "training") for what in ("plain", "units", "ratio"))
    return Table(*first, *columns, title="milliseconds", box=None)


def show_networks(names: Iterable[str], batches: list[int], sizes: list[int], repeats: int, autocast: bool) -> Table:
    """Return a table with rows by network, batch and size."""
    cases: list[tuple[str, Make, Make, int, int]] = []
    for name in names:
        if name in OWN:
            cases.append((name, *OWN[name]))
            continue
        both = partial(timm.create_model, name), partial(converted, name)
        cases += [(name, *both, batch, size) for size in sizes for batch in batches]
    table = headings("network", "batch", "pixels")
    ratios: dict[str, list[float]] = {"inference": [], "training": []}
    for name, plain, units, batch, size in track(cases, "networks"):
        torch.manual_seed(0)
        medians = compare(plain(), units(), torch.randn(batch, 3, size, size), repeats, autocast)
        table.add_row(name, str(batch), str(size), *cells(medians))
        for kind, values in ratios.items():
            values.append(medians["units", kind] / medians["plain", kind])
    middle, most = (
        [f"{kind} {summary(values):.2f}" for kind, values in ratios.items()] for summary in (statistics.median, max)
    )
    table.caption = f"units to plain, median: {', '.join(middle)}; most: {', '.join(most)}"
    return table


def show_layers(name: str, batch: int, size: int, repeats: int, autocast: bool) -> Table:
    """Return a table with a row per distinct convolution; those that lose the most time in training come first."""
    plain: Make = partial(timm.create_model, name)
    if name in OWN:
        plain, _, batch, size = OWN[name]
    model, found = plain().eval(), Counter[tuple[object, ...]]()
    example: dict[tuple[object, ...], nn.Conv2d] = {}

    def note(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(conv, nn.Conv2d)
        key = (*inputs[0].shape, conv.out_channels, conv.kernel_size, conv.stride, conv.groups, conv.padding)
        found[key] += 1
        example.setdefault(key, conv)

    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.register_forward_pre_hook(note)
    with torch.no_grad():
        model(torch.randn(batch, 3, size, size))
    rows = []
    for key in track(found, name):
        conv = copy.deepcopy(example[key])
        conv._forward_pre_hooks.clear()
        images = torch.randn(*key[:4])  # type: ignore[call-overload]
        if convolutions(nn.Sequential(conv), num_units=2)[0].reason:  # it stays a convolution
            continue
        medians = compare(conv, convert_(nn.Sequential(conv), num_units=2)[0], images, repeats, autocast)
        lost = found[key] * (medians["units", "training"] - medians["plain", "training"])
        label = (
            f"{conv.in_channels}, {conv.out_channels}, {images.shape[2]}, {conv.kernel_size[0]} x {conv.kernel_size[1]}"
        )
        label += f", stride {conv.stride[0]}" * (conv.stride != (1, 1)) + f", groups {conv.groups}" * (conv.groups > 1)
        rows.append((lost, [label, str(found[key]), *cells(medians), f"{lost:.1f}"]))
    table = headings("in, out, pixels, kernel", "layers")
    table.add_column("lost in a training step")
    for _, row in sorted(rows, reverse=True):
        table.add_row(*row)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*TIMM, *OWN], help="networks of timm, or of " + ", ".join(OWN))
    parser.add_argument("--layers", metavar="NAME", help="tell of each convolution of one network")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--size", type=int, nargs="+", default=[128, 224])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--autocast", action="store_true", help="compute in bfloat16 under autocast")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("torchdau").setLevel(logging.WARNING)
    if options.layers:
        table = show_layers(options.layers, options.batch[0], options.size[0], options.repeats, options.autocast)
    else:
        table = show_networks(options.names, options.batch, options.size, options.repeats, options.autocast)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
