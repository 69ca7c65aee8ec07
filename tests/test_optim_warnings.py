"""Which optimizers, rates and schedules are warned of, because displacements would step wrongly."""

import copy
import io
import warnings

import pytest
import torch

import torchdau
from tests.test_optim import SGD, model, train, wide
from torchdau import parameter_groups


def test_a_schedule_that_sets_one_rate_for_all_is_warned_of_once():
    net = wide()
    optimizer = torchdau.optimizer(net, **SGD)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=4)
    with pytest.warns(UserWarning, match=r"displacements step 0.004 pixels, the rate of the weights") as warned:
        train(net, optimizer, steps=2)
    assert len(warned) == 1
    optimizer = torchdau.optimizer(net, **SGD | {"lr": 0.05})  # equal from the start
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(net, optimizer, steps=1)


def step(optimizer, net):
    net(torch.randn(2, 3, 3, 3)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: torch.optim.SGD(net.parameters(), lr=0.1), r"group of SGD .*\(lr=0.1\).*far\. Create .*, SGD, lr"),
        (lambda net: torch.optim.AdamW(net.parameters(), weight_decay=0.05), r"AdamW.*decay towards 0 .*0\.05"),
        (lambda net: torch.optim.AdamW([{"params": [net[2].displacement]}], weight_decay=0.05), "decay towards 0"),
        (lambda net: torch.optim.Adam(parameter_groups(net, lr=1e-3)), r"step up to 0.5 pixels with Adam, which"),
    ],
)
@pytest.mark.parametrize(
    "derive", [lambda net: net, copy.deepcopy, lambda net: torch.load(saved(net), weights_only=False)]
)
def test_an_optimizer_for_weights_is_warned_of_once(make, message, derive):
    net = derive(model())
    optimizer = make(net)
    with pytest.warns(UserWarning, match=message) as caught:  # noqa: PT031
        step(optimizer, net)
        step(optimizer, net)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def saved(net):
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "make",
    [
        lambda net: torchdau.optimizer(net, torch.optim.AdamW, lr=1e-3, weight_decay=0.05),
        lambda net: torchdau.optimizer(net, torch.optim.AdamW, lr=1e-3, displacement_lr=1),
        lambda net: torch.optim.SGD(parameter_groups(net, lr=1e-3, weight_decay=0.05)),
        lambda net: torch.optim.AdamW(parameter_groups(net, lr=1e-3, displacement_lr=0.05)),
        lambda net: torch.optim.AdamW([net[0].weight, net[2].weight], weight_decay=0.05),
        lambda net: torch.optim.SGD(
            [{"params": [net[2].displacement], "lr": 1.0}, {"params": [net[0].weight]}], lr=0.1
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_others_are_not(make):
    net = model()
    step(make(net), net)


@pytest.mark.parametrize("schedule", [False, True])
def test_warnings_name_the_line_that_steps(schedule):
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    if schedule:  # which wraps the step
        torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match="the displacements of 1 layer are in a group of SGD") as warned:
        step(optimizer, net)
    assert warned[0].filename == __file__
