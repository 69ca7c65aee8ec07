"""The classification task: who learns how fast, and what is measured."""

import copy
import math
from functools import partial

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchdau import DAUConv2d
from torchdau.models import dau_cifarnet
from torchdau.training import Classification


def network():
    return dau_cifarnet(num_units=2, in_channels=1, image_size=8, widths=(4, 4, 4), num_classes=3)


def loader(labels):
    return DataLoader(TensorDataset(torch.randn(len(labels), 1, 8, 8), torch.tensor(labels)), batch_size=2)


def trainer(tmp_path, epochs=1):
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )


def test_rates_and_their_schedule(tmp_path):
    task = Classification(
        network(),
        lr=0.02,
        weight_decay=1e-3,
        displacement_lr=0.3,
        optimizer=partial(torch.optim.SGD, momentum=0.9),
        scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[1], gamma=0.1),
    )
    run = trainer(tmp_path, epochs=2)
    run.fit(task, loader([0, 1, 2]), loader([0]))
    groups = {g["name"]: g for g in run.optimizers[0].param_groups}
    assert {name: g["initial_lr"] for name, g in groups.items()} == {
        "weights": 0.02,
        "no_decay": 0.02,
        "displacements": 0.3,
    }
    assert {name: g["weight_decay"] for name, g in groups.items()} == {
        "weights": 1e-3,
        "no_decay": 0.0,
        "displacements": 0.0,
    }
    assert groups["displacements"]["lr"] == pytest.approx(0.03)
    assert groups["weights"]["momentum"] == 0.9


def test_units_are_within_their_bounds_after_a_step(tmp_path):
    task = Classification(network(), displacement_lr=1e6)
    trainer(tmp_path).fit(task, loader([0, 1]), loader([0]))
    units = [m for m in task.network.modules() if isinstance(m, DAUConv2d)]
    assert max(m.displacement.abs().max() for m in units) == 4


class Constant(nn.Module):
    """Says class 1 of 3 with a logit of ln 2."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([1.0, 2.0, 1.0]).log())

    def forward(self, images):
        return self.logits.expand(len(images), -1)


def test_channels_last():
    """Weights and images have the layout in all layers, and the result is the same."""
    plain = dau_cifarnet(num_units=2, image_size=8, widths=(4, 4, 4), num_classes=3).eval()
    task, seen = Classification(copy.deepcopy(plain), channels_last=True), []
    for layer in task.modules():
        if isinstance(layer, DAUConv2d):
            layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(task(images), plain(images))
    assert len(seen) == 3
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in seen)


def test_loss_accuracy_and_probabilities(tmp_path):
    task = Classification(Constant())
    (metrics,) = trainer(tmp_path).test(task, loader([1, 1, 1, 0]), verbose=False)
    assert metrics["test_accuracy"] == 0.75
    assert metrics["test_loss"] == pytest.approx((3 * math.log(2) + math.log(4)) / 4)
    (probabilities, _) = trainer(tmp_path).predict(task, loader([0, 0, 0]))
    torch.testing.assert_close(probabilities, torch.tensor([[0.25, 0.5, 0.25]]).expand(2, 3))


def test_a_schedule_of_steps(tmp_path):
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.1)
    task = Classification(network(), lr=0.1, scheduler=schedule, scheduler_interval="step")
    trainer(tmp_path).fit(task, loader([0, 1, 2, 0, 1, 2]), loader([0, 1]))  # three steps
    assert task.optimizers().param_groups[0]["lr"] == pytest.approx(0.01)


def test_steps_have_seeds_of_their_own(monkeypatch, tmp_path):
    """Random numbers of a step, as dropout's, depend on seed, epoch and batch, not on what was drawn before."""
    drawn = []

    class Drawing(Classification):
        def training_step(self, batch, batch_idx):
            drawn.append(torch.rand(()).item())
            return super().training_step(batch, batch_idx)

    for seed, start in (("5", 1), ("5", 2), ("6", 1)):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        torch.manual_seed(start)
        trainer(tmp_path, epochs=2).fit(Drawing(network()), loader([0, 1, 2, 0]), loader([0, 1, 2, 0]))
    first, again, other = drawn[:4], drawn[4:8], drawn[8:]
    assert first == again
    assert len(set(first)) == 4
    assert not set(first) & set(other)


def test_displacements_step_in_pixels_or_by_the_papers_rule():
    task = Classification(network(), lr=0.1, displacement_lr=0.02)
    assert [group["lr"] for group in task.configure_optimizers().param_groups] == [0.1, 0.1, 0.02]
    paper = Classification(network(), lr=0.1, displacement_factor=500).configure_optimizers()
    assert type(paper) is torch.optim.SGD
    assert [group["lr"] for group in paper.param_groups] == [0.1, 0.1, 50]
