"""Converted and pruned models elsewhere: torch.export, ONNX and onnxruntime."""

import onnxruntime
import pytest
import timm
import torch
from torch import nn

from torchdau import convert_, fold_, prune_units_

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


@pytest.mark.parametrize("kind", ["resnet", "units", "learned sigma", "pruned"])
@torch.no_grad()
def test_onnx(kind, tmp_path):
    model, image = network(kind), torch.randn(2, 3, 64, 48)
    program = torch.onnx.export(
        model, (image,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False
    )
    program.save(tmp_path / "model.onnx")
    assert {node.domain for node in program.model.graph} == {""}
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        image = torch.randn(batch, 3, 64, 48)
        (output,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        torch.testing.assert_close(torch.from_numpy(output), model(image), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["resnet", "learned sigma", "pruned"])
@torch.no_grad()
def test_torch_export(kind):
    model, image = network(kind), torch.randn(2, 3, 64, 48)
    program = torch.export.export(model, (image,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (1, 3):
        image = torch.randn(batch, 3, 64, 48)
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_folded_model_exports_without_torchdau(tmp_path):
    model, image = network("pruned"), torch.randn(2, 3, 40, 48)
    expected = model(image)
    program = torch.export.export(fold_(model), (image,))
    assert "torchdau" not in str(program.graph)
    torch.testing.assert_close(program.module()(image), expected, rtol=1e-4, atol=1e-5)
