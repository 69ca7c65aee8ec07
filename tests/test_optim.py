import copy
import io
from functools import partial

import pytest
import torch
from torch import nn

import torchdau
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


SGD = {"optimizer_class": torch.optim.SGD, "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
CLASSES = [SGD, {"optimizer_class": torch.optim.AdamW, "lr": 1e-2, "weight_decay": 0.05}]


def train(net, optimizer, steps=3, scale=1.0, start=0):
    """Some steps; returns all parameters."""
    for number in range(start, start + steps):
        optimizer.zero_grad()
        x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(number))
        (scale * net(x).square().sum()).backward()
        optimizer.step()
    return [p.detach().clone() for p in net.parameters()]


def wide(seed=0):
    torch.manual_seed(seed)
    layers = DAUConv2d(3, 16), nn.BatchNorm2d(16), DAUConv2d(16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers)


@pytest.mark.parametrize("scale", [1e-6, 1e3])
@pytest.mark.parametrize("options", CLASSES, ids=lambda options: options["optimizer_class"].__name__)
def test_displacements_step_in_pixels(options, scale):
    """Whatever the width of the layer, the size of the gradient, and the optimizer of the weights."""
    net = wide()
    before = [net[i].displacement.detach().clone() for i in (0, 2)]
    train(net, torchdau.optimizer(net, **options, displacement_lr=0.02), steps=1, scale=scale)
    for i, start in zip((0, 2), before, strict=True):
        step = (net[i].displacement - start).abs()
        torch.testing.assert_close(step, torch.full_like(step, 0.02), rtol=1e-2, atol=0)


@pytest.mark.parametrize("options", CLASSES, ids=lambda options: options["optimizer_class"].__name__)
def test_everything_else_follows_the_class(options):
    """As if the class had been used alone, while displacements stand still."""
    net, other = wide(), wide()
    options = dict(options)
    train(net, torchdau.optimizer(net, **options, displacement_lr=0))
    rates = {name: options.pop(name) for name in ("lr", "weight_decay")}
    make = options.pop("optimizer_class")
    train(other, make(parameter_groups(other, **rates, displacement_lr=0), **options))
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("extra", [{}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize("options", CLASSES, ids=lambda options: options["optimizer_class"].__name__)
def test_resuming_is_exact(options, extra):
    net, resumed = wide(), wide()
    expected = train(net, torchdau.optimizer(net, **options, **extra), steps=6)
    first = torchdau.optimizer(resumed, **options, **extra)
    train(resumed, first)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = torchdau.optimizer(resumed, **options | {"lr": 7.0}, **extra)
    second.load_state_dict(torch.load(file))
    for a, b in zip(train(resumed, second, start=3), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_copies_are_whole():
    net = wide()
    train(net, optimizer := torchdau.optimizer(net, **SGD))
    other, its_optimizer = copy.deepcopy((net, optimizer))
    for a, b in zip(train(net, optimizer), train(other, its_optimizer), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_schedulers_scale_displacements_too():
    net = wide()
    optimizer = torchdau.optimizer(net, **SGD, displacement_lr=0.04)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    train(net, optimizer, steps=1)
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05, 0.02]
    before = net[0].displacement.detach().clone()
    train(net, optimizer, steps=1)
    assert 0.01 < (net[0].displacement - before).abs().max() <= 0.0201
    rates = [group["lr"] for group in optimizer.param_groups]
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=4)
    train(net, optimizer, steps=1)
    cycle.step()
    assert optimizer.param_groups[2]["lr"] > optimizer.param_groups[2]["min_lr"]


def test_weights_decay_as_the_class_does():
    net = wide()
    for make, decay in ((torch.optim.AdamW, 0.01), (torch.optim.SGD, 0), (partial(torch.optim.SGD, momentum=0.9), 0)):
        groups = torchdau.optimizer(net, make, lr=0.1).param_groups
        assert [group["weight_decay"] for group in groups] == [decay, 0, 0]
    with pytest.raises(TypeError, match=r"optimizer_class must be a class such as torch.optim.SGD, got 'sgd'"):
        torchdau.optimizer(net, "sgd", lr=0.1)


@pytest.mark.parametrize("fused", [False, True])
def test_gradient_scaler(fused):
    """A step without finite gradients is left out; others do not depend on the scale."""
    net, plain = wide(), wide()
    optimizer = torchdau.optimizer(net, **SGD, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    x = torch.randn(2, 3, 5, 5)
    for factor in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale(factor * net(x).square().sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    other = torchdau.optimizer(plain, **SGD, fused=fused)
    for factor in (1.0, 0.0, 1.0):  # the middle one for the statistics of the norm alone
        other.zero_grad()
        (loss := plain(x).square().sum()).backward()
        if factor:
            other.step()
    assert loss.isfinite()
    for a, b in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_closure_and_hooks():
    net, calls = wide(), []
    optimizer = torchdau.optimizer(net, **SGD)
    optimizer.register_step_post_hook(lambda *args: calls.append("hook"))

    def closure():
        optimizer.zero_grad()
        loss = net(torch.ones(2, 3, 5, 5)).square().sum()
        loss.backward()
        calls.append("closure")
        return loss

    with torch.no_grad():
        assert optimizer.step(closure) > 0
    assert calls == ["closure", "hook"]


def test_frozen_units_frozen_rest_and_no_parameters():
    net = wide()
    net[0].displacement.requires_grad_(False)
    net[2].displacement.requires_grad_(False)
    train(net, torchdau.optimizer(net, **SGD))
    net.requires_grad_(False)
    net[0].displacement.requires_grad_(True)
    optimizer = torchdau.optimizer(net, **SGD)
    assert [group["name"] for group in optimizer.param_groups] == ["displacements"]
    train(net, optimizer)
    with pytest.raises(ValueError, match="model must have parameters that require gradients"):
        torchdau.optimizer(net.requires_grad_(False), **SGD)


def test_any_class():
    timm_optim = pytest.importorskip("timm.optim")
    net = wide()
    train(net, torchdau.optimizer(net, timm_optim.Lion, lr=1e-3, weight_decay=0.1))
    with pytest.raises(TypeError, match="momentun"):
        torchdau.optimizer(net, torch.optim.SGD, lr=0.1, momentun=0.9)


def test_timm_lets_no_displacement_decay():
    timm = pytest.importorskip("timm")
    pytest.importorskip("timm.optim")
    net = timm.create_model("test_vit")  # has parameters of its own that do not decay
    spared = set(net.no_weight_decay())
    net.patch_embed.proj = nn.Sequential(net.patch_embed.proj, nn.Conv2d(64, 64, 3, padding=1))
    net = copy.deepcopy(torchdau.convert_(net, select="*.proj.1"))
    assert net.no_weight_decay() == spared | {"*.displacement", "*.sigma"} != spared
    optimizer = timm.optim.create_optimizer_v2(net, "sgd", lr=0.1, weight_decay=1e-4)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    layer = net.patch_embed.proj[1]
    assert (decay[id(layer.displacement)], decay[id(layer.weight)]) == (0, 1e-4)


def test_groups_that_are_added_later():
    """As gradual unfreezing adds them: displacements step in pixels, the others follow the class."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), DAUConv2d(4, 5), DAUConv2d(5, 6))
    net[0].requires_grad_(False)
    net[1].requires_grad_(False)
    optimizer = torchdau.optimizer(net, torch.optim.SGD, lr=0.1, momentum=0.9, displacement_lr=0.02)
    net.requires_grad_(True)
    optimizer.add_param_group({"params": net[1].parameters(), "lr": 0.01, "weight_decay": 1e-4})
    optimizer.add_param_group({"params": net[0].weight})
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [net[1].displacement]})
    added = [(g.get("name"), len(g["params"]), g["lr"], g["weight_decay"]) for g in optimizer.param_groups[3:]]
    assert added[:2] == [(None, 2, 0.01, 1e-4), ("displacements", 1, 0.02, 0.0)]
    optimizer = copy.deepcopy(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    start = [p.detach().clone() for p in parameters]
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all(not torch.equal(p, before) for p, before in zip(parameters, start, strict=True))


@pytest.mark.parametrize("name", [{}, {"name": "displacements"}])
def test_displacements_that_are_unfrozen_later(name):
    net = nn.Sequential(DAUConv2d(2, 3))
    net[0].displacement.requires_grad_(False)
    optimizer = torchdau.optimizer(net, torch.optim.SGD, lr=0.1, displacement_lr=0.02)
    net[0].displacement.requires_grad_(True)
    optimizer.add_param_group({"params": [net[0].displacement], **name})
    start = net[0].displacement.detach().clone()
    net(torch.randn(2, 2, 8, 8)).square().sum().backward()
    optimizer.step()
    assert (net[0].displacement - start).abs().max().item() == pytest.approx(0.02, rel=1e-3)


def test_the_rest_that_is_unfrozen_later():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), DAUConv2d(2, 3))
    net.requires_grad_(False)
    net[1].displacement.requires_grad_(True)
    optimizer = torchdau.optimizer(net, torch.optim.SGD, lr=0.1)
    net[0].weight.requires_grad_(True)
    optimizer.add_param_group({"params": [net[0].weight], "lr": 0.5})
    start, net[0].weight.grad = net[0].weight.detach().clone(), torch.ones_like(net[0].weight)
    optimizer.step()
    torch.testing.assert_close(net[0].weight.detach(), start - 0.5)
