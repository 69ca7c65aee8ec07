"""Do models of other libraries convert, train, and survive saving?

    uv run --with segmentation-models-pytorch --with transformers --with diffusers --with monai --with ultralytics \
        python benchmarks/libraries.py --markdown docs/libraries.md

Each model is converted by default, takes one training step, and is saved and loaded into a new plain model, which must
return the same. A library that is not installed is left out.
"""

import argparse
import importlib.metadata
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from architectures import outputs, parameters
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import torchdau
from torchdau import DAUConv2d

COLUMNS = ("library", "model", "unit layers", "parameters before", "parameters after", "result")
LIBRARIES = ("torchvision", "segmentation-models-pytorch", "transformers", "diffusers", "monai", "ultralytics")
Row = dict[str, str]


class Case(NamedTuple):
    """A model, and what it takes.

    Attributes:
        library: where it is from.
        name: its name there.
        make: makes it, with new weights.
        inputs: positional arguments of a call.
        training: arguments of a call in training, where they differ.
    """

    library: str
    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[Any, ...]
    training: tuple[Any, ...] | None = None


def detection() -> Iterator[Case]:
    """Detectors, instance segmentation and optical flow of torchvision."""
    images = [torch.rand(3, 128, 128) for _ in range(2)]
    boxes = torch.tensor([[8.0, 8.0, 64.0, 64.0]])
    masks = torch.ones(1, 128, 128, dtype=torch.uint8)
    target = {"boxes": boxes, "labels": torch.ones(1, dtype=torch.int64), "masks": masks}
    names = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn")
    for name in (*names, "ssdlite320_mobilenet_v3_large"):
        make = partial(torchvision.models.get_model, name, weights=None, weights_backbone=None)
        yield Case("torchvision", name, make, (images,), (images, [target, target]))
    pair = torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128)
    yield Case("torchvision", "raft_small", partial(torchvision.models.get_model, "raft_small", weights=None), pair)


def segmentation() -> Iterator[Case]:
    """Networks of segmentation_models_pytorch."""
    import segmentation_models_pytorch as smp

    for name in ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN"):
        make = partial(getattr(smp, name), encoder_name="resnet18", encoder_weights=None)
        yield Case("segmentation-models-pytorch", name, make, (torch.rand(2, 3, 128, 128),))


def transformers() -> Iterator[Case]:
    """Networks of transformers that have convolutions."""
    import transformers as hf

    for name in ("ResNet", "ConvNext", "MobileNetV2"):
        make = partial(getattr(hf, f"{name}ForImageClassification"), getattr(hf, f"{name}Config")())
        yield Case("transformers", name, make, (torch.rand(2, 3, 96, 96),))
    segformer = partial(hf.SegformerForSemanticSegmentation, hf.SegformerConfig())
    yield Case("transformers", "Segformer", segformer, (torch.rand(2, 3, 96, 96),))


def others() -> Iterator[Case]:
    """The U-Nets of diffusers and MONAI, and a detector of Ultralytics."""
    if importlib.util.find_spec("diffusers"):
        from diffusers import UNet2DModel

        make = partial(UNet2DModel, sample_size=32, block_out_channels=(32, 64, 64, 64), norm_num_groups=8)
        yield Case("diffusers", "UNet2DModel", make, (torch.rand(2, 3, 32, 32), 10))
    if importlib.util.find_spec("monai"):
        from monai.networks.nets import UNet

        make_unet = partial(UNet, spatial_dims=2, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2))
        yield Case("monai", "UNet, 2-D", make_unet, (torch.rand(2, 1, 64, 64),))
    if importlib.util.find_spec("ultralytics"):
        from ultralytics import YOLO

        yield Case("ultralytics", "yolov8n", lambda: YOLO("yolov8n.yaml").model, (torch.rand(2, 3, 128, 128),))


def cases() -> Iterator[Case]:
    """All models of the libraries that are installed."""
    yield from detection()
    if importlib.util.find_spec("segmentation_models_pytorch"):
        yield from segmentation()
    if importlib.util.find_spec("transformers"):
        yield from transformers()
    yield from others()


def check(case: Case) -> Row:
    """Convert a model, train it for a step, save it and load it."""
    torch.manual_seed(0)
    model = case.make()
    row = dict.fromkeys(COLUMNS, "") | {"library": case.library, "model": case.name}
    row["parameters before"] = f"{parameters(model):,}"
    torchdau.convert_(model)
    layers = [module for module in model.modules() if isinstance(module, DAUConv2d)]
    row |= {"unit layers": str(len(layers)), "parameters after": f"{parameters(model):,}"}
    optimizer = torchdau.optimizer(model.train(), torch.optim.SGD, lr=1e-4)
    loss = sum((t.float().square().mean() for t in tensors(model(*(case.training or case.inputs)))), torch.zeros(()))
    loss.backward()
    optimizer.step()
    moved = [layer.displacement.grad for layer in layers if layer.displacement.grad is not None]
    if not loss.isfinite() or not moved or not all(grad.isfinite().all() for grad in moved):
        return row | {"result": "loss or gradients not finite, or none"}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        torchdau.save_model(model, Path(folder) / "model.safetensors")
        loaded = torchdau.load_model(Path(folder) / "model.safetensors", case.make())
        torch.manual_seed(0)
        before = tensors(model.eval()(*case.inputs))
        torch.manual_seed(0)
        after = tensors(loaded.eval()(*case.inputs))
    same = len(before) == len(after) and all(map(torch.equal, before, after))
    some = sum(tensor.numel() for tensor in before) > 0
    passed = "passed" if some else "passed, but new weights detect nothing to compare"
    return row | {"result": passed if same else "another output after loading"}


def tensors(result: Any) -> list[Tensor]:
    """All floating-point tensors of what a model returns."""
    found = outputs(dict(result) if hasattr(result, "to_tuple") else result)
    return [tensor for tensor in found if tensor.is_floating_point()]


def page(rows: list[Row]) -> str:
    """The table as a page of the docs."""
    installed = {d.name.lower().replace("_", "-") for d in importlib.metadata.distributions()}
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES if name in installed)
    passed = sum(row["result"].startswith("passed") for row in rows)
    lines = COLUMNS, ["---"] * len(COLUMNS), *(row.values() for row in rows)
    command = (__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    head = (
        "# Models of other libraries",
        f"{passed} of {len(rows)} models pass: `convert_` converts them by default, a training step has a finite loss "
        "and gradients, and the output is the same after `save_model` and `load_model`, except where the result says "
        "that there was none to compare.",
        command,
        f"{versions}; {date.today()}.",
        "\n".join(f"| {' | '.join(line)} |" for line in lines),
    )
    return "\n\n".join(head) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the table as a page of the docs")
    parser.add_argument("--only", nargs="*", help="names of models")
    options = parser.parse_args()
    torch.set_num_threads(2)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    rows = []
    for case in track(list(cases()), "models"):
        if options.only and case.name not in options.only:
            continue
        try:
            rows.append(check(case))
        except Exception as error:  # whatever a model does, the others are looked at as well
            message = str(error).splitlines()[0] if str(error) else ""
            row = dict.fromkeys(COLUMNS, "") | {"library": case.library, "model": case.name}
            rows.append(row | {"result": f"{type(error).__name__}: {message}"[:120]})
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
    if options.markdown:
        options.markdown.write_text(page(rows))


if __name__ == "__main__":
    main()
