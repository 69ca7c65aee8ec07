"""Networks on a task where reach matters: digits of 32 x 32 pixels, without pooling or strides."""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchdau.analysis import ReceptiveField, receptive_field
from torchdau.conv import DAUConv2d
from torchdau.optim import optimizer as unit_optimizer
from torchdau.training.data.digits import DigitsData

SIDE = 32
"""Side of the images in pixels; scikit-learn's 8 x 8 digits are enlarged to make strokes wider than a 3 x 3 kernel."""

CHANNELS = 16
BATCH = 32

Tracked = Callable[[range], Iterable[int]]


@dataclass(frozen=True)
class Result:
    """Result of one network; ``before`` and ``after`` are its effective receptive fields."""

    untrained: nn.Module
    network: nn.Module
    accuracy: float
    before: ReceptiveField
    after: ReceptiveField
    seconds: float


def digits(train: bool) -> tuple[Tensor, Tensor]:
    """Return the images (N, 1, 32, 32) and the classes of the training or the test set."""
    found = DigitsData().dataset(train)
    images, labels = found.images, found.targets
    return F.interpolate(images / 255, size=SIDE, mode="bilinear"), labels


def make_network(dilation: int | None) -> nn.Sequential:
    """Make three layers of 16 channels, of units or of dilated 3 x 3 kernels, a global mean and a linear layer."""
    layers: list[nn.Module] = [nn.BatchNorm2d(1)]
    for inputs in (1, CHANNELS, CHANNELS):
        if dilation is None:
            layers.append(DAUConv2d(inputs, CHANNELS, num_units=2, max_displacement=8, bias=False))
        else:
            layers.append(nn.Conv2d(inputs, CHANNELS, 3, padding=dilation, dilation=dilation, bias=False))
        layers += [nn.BatchNorm2d(CHANNELS), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10))


def measured(
    network: nn.Module,
    training: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    epochs: int,
    tracked: Tracked,
) -> Result:
    """Train a network and measure it on the test set; ``tracked`` shows the progress of the steps."""
    start, untrained = time.perf_counter(), copy.deepcopy(network)
    optimizer = unit_optimizer(network, torch.optim.SGD, lr=0.05, momentum=0.9)
    train(network, training, optimizer, epochs, tracked)
    right = accuracy(network, test)
    seconds = time.perf_counter() - start
    before, after = (receptive_field(each.cpu().eval(), "0", test[0][:8]) for each in (untrained, network))
    return Result(untrained, network, right, before, after, seconds)


def train(
    network: nn.Module,
    training: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: int,
    tracked: Tracked = iter,
) -> None:
    """Train a network on images and labels, in batches of 32, with a one-cycle schedule."""
    device = next(network.parameters()).device
    images, labels = (part.to(device) for part in training)
    steps = epochs * (len(images) // BATCH)
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
    for step in tracked(range(steps)):
        place = step % (steps // epochs) * BATCH
        if place == 0:
            order = torch.randperm(len(images)).to(device)
        batch = order[place : place + BATCH]
        optimizer.zero_grad()
        F.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(network: nn.Module, test: tuple[Tensor, Tensor]) -> float:
    """Return the share of test images that a network classifies correctly."""
    device = next(network.parameters()).device
    classes = network.eval()(test[0].to(device)).argmax(1).cpu()
    return (classes == test[1]).float().mean().item()
