"""Unit layers in a network of your own, trained on scikit-learn's digits in seconds: python examples/own_network.py."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import torchdau

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
test = torch.arange(len(labels)) % 5 == 0
batches = DataLoader(TensorDataset(images[~test], labels[~test]), batch_size=64, shuffle=True)

model = nn.Sequential(
    torchdau.DAUConv2d(1, 32, num_units=2),  # in place of nn.Conv2d(1, 32, 3, padding=1)
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.MaxPool2d(2),
    torchdau.DAUConv2d(32, 64, num_units=2, learn_sigma=True),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.AdaptiveMaxPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 10),
)

# Displacements step in pixels, by default 0.05 at most or about.
optimizer = torchdau.optimizer(model, torch.optim.AdamW, lr=0.003, weight_decay=1e-4)
for epoch in range(1, 9):
    model.train()
    for batch, targets in batches:
        optimizer.zero_grad()
        cross_entropy(model(batch), targets).backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        accuracy = (model(images[test]).argmax(1) == labels[test]).float().mean()
    distance = model[4].displacement.detach().norm(dim=-1).mean()
    print(
        f"epoch {epoch}: test accuracy {accuracy:.1%}, units of the second layer {distance:.2f} pixels from the centre"
    )
