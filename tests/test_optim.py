import pytest
import torch
from torch import nn

from torchdau import DAUConv2d, parameter_groups


def model():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), DAUConv2d(4, 5, learn_sigma=True), nn.Flatten(), nn.Linear(5, 2)
    )


def names_by_group(groups, net):
    names = {id(p): name for name, p in net.named_parameters()}
    return {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}


def test_who_decays_and_who_runs():
    net = model()
    groups = parameter_groups(net, lr=0.1, weight_decay=1e-4)
    assert names_by_group(groups, net) == {
        "weights": ["0.weight", "2.weight", "4.weight"],
        "no_decay": ["0.bias", "1.weight", "1.bias", "2.sigma", "2.bias", "4.bias"],
        "displacements": ["2.displacement"],
    }
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(0.1, 1e-4), (0.1, 0.0), (50.0, 0.0)]
    assert parameter_groups(net, 0.1, displacement_lr=1e-3)[2]["lr"] == 1e-3


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_any_optimizer_takes_them(make):
    net = model()
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = make(parameter_groups(net, lr=1e-2, displacement_lr=1e-2))
    net(torch.randn(2, 3, 3, 3)).square().sum().backward()
    optimizer.step()
    moved = [name for (name, p), b in zip(net.named_parameters(), before, strict=True) if not torch.equal(p, b)]
    assert {"2.displacement", "2.weight", "2.sigma"} <= set(moved)


def test_frozen_parameters_and_plain_models():
    net = model()
    net[2].requires_grad_(False)
    assert {g["name"] for g in parameter_groups(net, 0.1)} == {"weights", "no_decay"}
    assert [g["name"] for g in parameter_groups(nn.Conv2d(1, 1, 1, bias=False), 0.1)] == ["weights"]


def test_norms_are_known_by_class_and_by_name():
    class Frozen(nn.BatchNorm2d):
        pass

    class RmsNorm2d(nn.Module):  # as in timm
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

    class NormalizedConv(nn.Conv2d):
        pass

    net = nn.Sequential(Frozen(3), RmsNorm2d(), nn.GroupNorm(1, 3), NormalizedConv(3, 3, 1, bias=False))
    groups = names_by_group(parameter_groups(net, 0.1), net)
    assert groups == {"weights": ["3.weight"], "no_decay": ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias"]}


def test_a_shared_layer_is_counted_once():
    layer = DAUConv2d(3, 3)
    net = nn.Sequential(layer, nn.Sequential(layer))
    assert sum(len(group["params"]) for group in parameter_groups(net, 0.1)) == 3


def test_a_rate_that_is_no_number():
    with pytest.raises(TypeError, match=r"lr must be a number, got lr='0.1'"):
        parameter_groups(model(), "0.1")


@pytest.mark.parametrize("name", ["lr", "weight_decay", "displacement_lr"])
def test_bad_rates(name):
    with pytest.raises(ValueError, match=f"{name} must be a finite number, 0 or more, got {name}=-1"):
        parameter_groups(model(), **({"lr": 0.1} | {name: -1}))
