"""A trained model of timm to units and on: convert, fine-tune, prune, save. Run: python examples/finetune_timm.py.

The model is trained on scikit-learn's digits first, since nothing is downloaded here. With weights from the Hub it
would be timm.create_model("resnet18", pretrained=True).
"""

import timm
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, TensorDataset

import torchdau

torch.manual_seed(0)
digits = load_digits()
images = interpolate(torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, size=32)
labels = torch.tensor(digits.target)
test = torch.arange(len(labels)) % 5 == 0
batches = DataLoader(TensorDataset(images[~test], labels[~test]), batch_size=32, shuffle=True)


def train(model: nn.Module, epochs: int, lr: float, displacement_lr: float = 0.05) -> None:
    """Trains with AdamW; displacements step in pixels, less far where they start from trained kernels."""
    optimizer = torchdau.optimizer(model, torch.optim.AdamW, lr, weight_decay=1e-4, displacement_lr=displacement_lr)
    model.train()
    for _ in range(epochs):
        for batch, targets in batches:
            optimizer.zero_grad()
            cross_entropy(model(batch), targets).backward()
            optimizer.step()


@torch.inference_mode()
def report(title: str, model: nn.Module) -> None:
    """Prints test accuracy and the number of parameters."""
    accuracy = (model.eval()(images[test]).argmax(1) == labels[test]).float().mean()
    print(f"{title}: test accuracy {accuracy:.1%}, {sum(p.numel() for p in model.parameters()):,} parameters")


arguments = {"in_chans": 1, "num_classes": 10}
model = timm.create_model("test_resnet", **arguments)
train(model, epochs=2, lr=0.002)
report("3 x 3 convolutions", model)

torchdau.convert_(model, num_units=4, init="fit")  # the units that come closest to the trained kernels
report("four units each", model)
train(model, epochs=1, lr=0.001, displacement_lr=0.01)
report("fine-tuned", model)

torchdau.prune_units_(model, 0.1)
train(model, epochs=1, lr=0.0005, displacement_lr=0.005)
report("pruned, trained on", model)

torchdau.save_model(model, "digits.safetensors", "timm/test_resnet", **arguments)
report("loaded from digits.safetensors", torchdau.load_model("digits.safetensors"))
