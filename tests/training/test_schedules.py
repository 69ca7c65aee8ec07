"""Learning rate schedules over the whole training."""

from functools import partial

import pytest
import torch
from lightning import Trainer
from torch import nn

from torchdau import DAUConv2d, parameter_groups
from torchdau.training import Classification, CosineDecay, MultiStepDecay, PolynomialDecay


def rates(make, steps):
    """Rates of the parameter groups before each step, and after the last."""
    model = nn.Sequential(DAUConv2d(1, 1), nn.Conv2d(1, 1, 1))
    optimizer = torch.optim.Adam(parameter_groups(model, 5e-4, 0, 1e-3))
    schedule, seen = make(optimizer), []
    for _ in range(steps + 1):
        seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    return seen


def test_displacements_slow_down_in_a_line():
    seen = rates(partial(PolynomialDecay, total_iters=100, power=0.3), 101)
    assert seen[0] == {"no_decay": 5e-4, "weights": 5e-4, "displacements": 1e-3}
    assert seen[75]["displacements"] == pytest.approx(0.25e-3)
    assert seen[75]["weights"] == pytest.approx(5e-4 * 0.25**0.3)
    assert set(seen[100].values()) == set(seen[101].values()) == {0}


def test_cosine():
    weights = [rate["weights"] for rate in rates(partial(CosineDecay, total_iters=4), 4)]
    assert weights == pytest.approx([5e-4, 5e-4 * (1 + 0.5**0.5) / 2, 2.5e-4, 5e-4 * (1 - 0.5**0.5) / 2, 0])


@pytest.mark.parametrize(
    ("milestones", "total", "epochs"),
    [
        ([0.75], 100, [75]),
        ([0.75], 6, [4]),
        ([0.75], 15, [11]),
        ([0.3, 0.6, 0.8, 0.9], 100, [30, 60, 80, 90]),
        ([0.3, 0.6, 0.8, 0.9], 12, [4, 7, 10, 11]),
        ([0.25, 0.5, 0.75], 800, [200, 400, 600]),
    ],
)
def test_milestones_are_those_of_pytorch_in_whole_epochs(milestones, total, epochs):
    seen = rates(partial(MultiStepDecay, milestones=milestones, total_iters=total), total)
    expected = rates(partial(torch.optim.lr_scheduler.MultiStepLR, milestones=epochs, gamma=0.1), total)
    for rate, other in zip(seen, expected, strict=True):
        assert rate == pytest.approx(other)


@pytest.mark.parametrize("milestone", [75, 0, 1, -0.5])
def test_milestones_must_be_shares(milestone):
    with pytest.raises(ValueError, match=rf"milestones must be shares of the training, .* got {milestone}"):
        rates(partial(MultiStepDecay, milestones=[0.5, milestone]), 1)


def test_length_must_be_known():
    with pytest.raises(ValueError, match="CosineDecay needs total_iters"):
        rates(CosineDecay, 1)


def trainer(folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(enable_checkpointing=False, default_root_dir=folder, **quiet, **options)


def loader(images=6):
    data = list(zip(torch.zeros(images, 1, 4, 4), torch.arange(images) % 2, strict=True))
    return torch.utils.data.DataLoader(data, batch_size=2)


class Recorder(Classification):
    """Keeps the rate of each step."""

    def __init__(self, interval="epoch", milestones=(0.5,)):
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        network.num_classes = 2
        schedule = partial(MultiStepDecay, milestones=milestones)
        super().__init__(network, lr=1.0, scheduler=schedule, scheduler_interval=interval)
        self.rates = []

    def on_train_batch_start(self, batch, batch_idx):
        self.rates.append(round(self.optimizers().param_groups[0]["lr"], 6))


@pytest.mark.parametrize(
    ("interval", "limits", "expected"),
    [
        ("epoch", {"max_epochs": 4}, [1] * 6 + [0.1] * 6),
        ("epoch", {"max_epochs": -1, "max_steps": 6}, [1] * 3 + [0.1] * 3),
        ("epoch", {"max_epochs": 100, "max_steps": 6}, [1] * 3 + [0.1] * 3),
        ("epoch", {"max_epochs": 4, "limit_train_batches": 1}, [1] * 2 + [0.1] * 2),
        ("epoch", {"max_epochs": 4, "accumulate_grad_batches": 2}, [1] * 6 + [0.1] * 6),
        ("step", {"max_epochs": 4}, [1] * 6 + [0.1] * 6),
        ("step", {"max_epochs": -1, "max_steps": 5}, [1, 1, 0.1, 0.1, 0.1]),
        ("step", {"max_epochs": 4, "accumulate_grad_batches": 3}, [1] * 6 + [0.1] * 6),
        ("step", {"max_epochs": -1, "max_time": "00:00:00:00"}, []),
    ],
)
def test_schedules_are_as_long_as_the_training(interval, limits, expected, tmp_path):
    task = Recorder(interval)
    trainer(tmp_path, **limits).fit(task, loader(), loader())
    assert task.rates == expected


def test_a_resumed_training_may_have_another_length(tmp_path):
    run = trainer(tmp_path, max_epochs=2)
    run.fit(Recorder(milestones=[0.9]), loader(), loader())
    run.save_checkpoint(tmp_path / "last.ckpt")
    task = Recorder(milestones=[0.75])
    trainer(tmp_path, max_epochs=4).fit(task, loader(), loader(), ckpt_path=tmp_path / "last.ckpt")
    assert task.rates == [1] * 3 + [0.1] * 3


def test_a_training_may_continue_from_the_schedule_of_another_class():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    before = torch.optim.lr_scheduler.MultiStepLR(optimizer, [75])
    for _ in range(3):
        optimizer.step()
        before.step()
    after = MultiStepDecay(torch.optim.SGD(model.parameters(), 1.0), [0.5])
    after.load_state_dict(before.state_dict())
    after.span(8)
    assert (after.last_epoch, after.get_last_lr()) == (3, [1.0])
    after.span(6)
    assert (after.get_last_lr(), after.optimizer.param_groups[0]["lr"]) == ([0.1], 0.1)
