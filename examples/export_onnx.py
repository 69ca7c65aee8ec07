"""A unit network to ONNX, run in a process without torchdau or PyTorch.

pip install onnx onnxscript onnxruntime timm
python examples/export_onnx.py
"""

import subprocess
import sys

import numpy as np
import timm
import torch

import torchdau

torch.manual_seed(0)
model = torchdau.convert_(timm.create_model("test_resnet")).eval()
images = torch.randn(3, 3, 64, 64)
batch = ({0: torch.export.Dim("batch")},)  # any number of images
torch.onnx.export(model, (images,), "units.onnx", dynamo=True, dynamic_shapes=batch)

with torch.inference_mode():
    np.savez("expected.npz", images=images.numpy(), logits=model(images).numpy())

ELSEWHERE = """
import sys, numpy, onnxruntime
expected = numpy.load("expected.npz")
session = onnxruntime.InferenceSession("units.onnx")
(logits,) = session.run(None, {session.get_inputs()[0].name: expected["images"]})
print("largest difference:", abs(logits - expected["logits"]).max())
print("torch and torchdau imported:", {"torch", "torchdau"} & set(sys.modules) or "neither")
"""
subprocess.run([sys.executable, "-c", ELSEWHERE], check=True)
