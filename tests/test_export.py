"""Converted and pruned models elsewhere: torch.compile, torch.export, AOTInductor, ONNX and onnxruntime."""

import shutil
import subprocess
import sys

import onnxruntime
import pytest
import timm
import torch
from torch import nn

from torchdau import DAUConv2d, convert_, fold_, prune_units_
from torchdau.models import library_model

# The exporter's own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def network(kind):
    torch.manual_seed(0)
    if kind == "resnet":
        return convert_(timm.create_model("test_resnet").eval())
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4, padding_mode="reflect"),
    ).eval()
    convert_(model, 3, learn_sigma=kind == "learned sigma")
    return prune_units_(model, 0.5) if kind == "pruned" else model


def check_onnx(model, size, file):
    """Exports with a batch of any size, and compares with what onnxruntime makes of it."""
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(model, (torch.randn(2, 3, *size),), dynamo=True, dynamic_shapes=batch, verbose=False)
    program.save(file, external_data=True)
    assert {node.domain for node in program.model.graph} == {""}
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for number in (1, 2, 5):
        image = torch.randn(number, 3, *size)
        output = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
        expected = model(image)
        expected = expected["out"] if isinstance(expected, dict) else expected
        torch.testing.assert_close(torch.from_numpy(output), expected, rtol=0, atol=1e-4)
        assert expected.abs().max() > 0.01


@pytest.mark.parametrize("kind", [pytest.param("resnet", marks=pytest.mark.slow), "units", "learned sigma", "pruned"])
@torch.no_grad()
def test_onnx(kind, tmp_path):
    check_onnx(network(kind), (64, 48), tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm/resnet50", "torchvision/deeplabv3_resnet50"])
@torch.no_grad()
def test_onnx_and_folding_of_large_networks(name, tmp_path):
    torch.manual_seed(0)
    model = convert_(library_model(name)).eval()
    check_onnx(model, (64, 64), tmp_path / "model.onnx")
    if name == "timm/resnet50":
        image = torch.randn(2, 3, 64, 64)
        expected = model(image)
        torch.testing.assert_close(fold_(model)(image), expected, rtol=0, atol=1e-5)


def test_kernels_that_are_too_large():
    model = nn.Sequential(DAUConv2d(512, 512, max_displacement=64, algorithm="dense"))
    with pytest.raises(
        ValueError, match=r"max_displacement must be lower for a dense kernel, got .*=64.0 for weight of"
    ):
        model(torch.randn(1, 512, 66, 66))
    nn.init.uniform_(model[0].displacement, -64, 64)
    with pytest.raises(
        ValueError, match=r"model must have layers whose .* 2147483647 numbers, got \d+ in '0', whose unit"
    ):
        fold_(model)


@pytest.mark.parametrize("kind", ["resnet", "learned sigma", "pruned"])
@torch.no_grad()
def test_torch_export(kind):
    model, image = network(kind), torch.randn(2, 3, 64, 48)
    program = torch.export.export(model, (image,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (1, 3):
        image = torch.randn(batch, 3, 64, 48)
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strict", [True, False])
@torch.no_grad()
def test_export_for_images_of_any_size(strict):
    model = nn.Sequential(DAUConv2d(3, 4, algorithm="dense", max_displacement=9))
    sizes = {2: torch.export.Dim("height", min=2), 3: torch.export.Dim("width", min=2)}
    program = torch.export.export(model, (torch.randn(2, 3, 30, 20),), dynamic_shapes=(sizes,), strict=strict)
    for height, width in ((2, 40), (7, 5)):
        image = torch.randn(2, 3, height, width)
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_folded_model_exports_without_torchdau(tmp_path):
    model, image = network("pruned"), torch.randn(2, 3, 40, 48)
    expected = model(image)
    program = torch.export.export(fold_(model), (image,))
    assert "torchdau" not in str(program.graph)
    torch.testing.assert_close(program.module()(image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["resnet", "learned sigma", "pruned"])
def test_compile(kind):
    """As one graph, forward and backward."""
    model, image = network(kind), torch.randn(2, 3, 64, 48)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    grads = []
    for run in (model, compiled):
        model.zero_grad()
        run(image).square().sum().backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


def aot(model, image, file):
    program = torch.export.export(model, (image,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    return torch._inductor.aoti_compile_and_package(program, package_path=str(file))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor compiles C++")
@torch.no_grad()
def test_aot_inductor(tmp_path):
    """With torchdau in the process; and folded in one without."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1)).eval()
    convert_(model, select="2")
    images = torch.randn(3, 3, 24, 20)
    expected = model(images)
    run = torch._inductor.aoti_load_package(aot(model, images[:2], tmp_path / "units.pt2"))
    for batch in (images[:1], images):
        torch.testing.assert_close(run(batch), model(batch), rtol=1e-4, atol=1e-5)
    torch.save((images, expected), tmp_path / "images.pt")
    aot(fold_(model), images[:2], tmp_path / "folded.pt2")
    code = """
import sys, torch, torch._inductor.codecache  # PyTorch 2.10 forgets it
images, expected = torch.load("images.pt")
torch.testing.assert_close(torch._inductor.aoti_load_package("folded.pt2")(images), expected, rtol=1e-4, atol=1e-5)
assert "torchdau" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
