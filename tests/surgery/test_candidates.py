"""Which convolutions of a model can become units, and why others cannot."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from torchdau import DAUConv2d, convert_, convolutions


def test_what_is_converted_and_why_not():
    norm = weight_norm(nn.Conv2d(4, 4, 3))
    old_norm = nn.Conv2d(4, 4, 3)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(old_norm)
    hooked = nn.Conv2d(4, 4, 3)
    hooked.register_forward_hook(lambda *args: None)
    overridden, biased = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    overridden.forward = lambda x: x
    nn.utils.parametrize.register_parametrization(biased, "bias", nn.Tanh())
    trained = torch.ao.nn.qat.Conv2d(4, 4, 3, qconfig=torch.ao.quantization.get_default_qat_qconfig())
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.LazyConv2d(4, 3), norm, old_norm, hooked, trained, nn.Conv2d(4, 4, 3))
    model += nn.Sequential(overridden, biased)
    reasons = {c.names: c.reason for c in convolutions(model)}
    expected = ["1 x 1", "lazy", "weight norm", "weight norm", "hooks", "something else than Conv2d", ""]
    expected += ["something else than Conv2d", "parametrization"]
    for number, reason in enumerate(expected):
        assert reason in reasons[(str(number),)]
        assert bool(reason) == bool(reasons[(str(number),)])
    convert_(model)
    assert [isinstance(m, DAUConv2d) for m in model] == [False] * 6 + [True] + [False] * 2


def test_select():
    def model():
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 5)))

    for select, expected in (
        ("1.*", [False, True, True]),
        ("1", [False, True, True]),
        (["0", "1.1"], [True, False, True]),
        (lambda name, conv: conv.kernel_size == (5, 5), [False, False, True]),
    ):
        converted = convert_(model(), select=select)
        assert [isinstance(m, DAUConv2d) for m in (converted[0], *converted[1])] == expected
    assert [c.reason for c in convolutions(model(), "0")] == ["", "not selected", "not selected"]


def test_tables_of_models_without_convolutions():
    assert str(convolutions(nn.Linear(2, 2))) == "no 2-D convolutions"
    model = convert_(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)))
    assert str(convolutions(model)).splitlines()[-1] == "1 layers already are units"


def test_what_gains_nothing_stays_unless_it_is_selected():
    def model():
        patches, pairs = nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(8, 8, 2, padding=1)
        return nn.Sequential(patches, pairs, nn.Conv2d(8, 8, (1, 3)), nn.Conv2d(8, 8, 7, groups=8), nn.Conv2d(8, 8, 31))

    found = convolutions(model())
    reasons = ["stride", "more parameters", "more parameters", "", ""]
    assert all(reason in c.reason and bool(reason) == bool(c.reason) for reason, c in zip(reasons, found, strict=True))
    assert [c.num_units for c in found] == [0, 0, 0, 6, 16]
    assert [isinstance(m, DAUConv2d) for m in convert_(model())] == [False] * 3 + [True] * 2
    assert all(isinstance(m, DAUConv2d) for m in convert_(model(), select="*"))
    assert [m.num_units for m in convert_(model(), 4)[3:]] == [4, 4]


def test_a_table_of_what_becomes_of_them():
    shared = nn.Conv2d(8, 8, 3, stride=2, groups=4)
    model = nn.Sequential(nn.Conv2d(3, 8, 7), shared, shared, nn.Conv2d(8, 4, 1), nn.LazyConv2d(4, 3))
    lines = str(convolutions(model)).splitlines()
    assert [re.split("  +", line) for line in lines] == [
        ["layer", "convolution", "becomes", "parameters", "then"],
        ["0", "3 to 8, 7 x 7", "6 units", "1,176", "432"],
        ["1, 2", "8 to 8, 3 x 3, stride 2, 4 groups", "2 units", "144", "96"],
        ["3", "8 to 4, 1 x 1", "stays: its kernel is 1 x 1", "32", "32"],
        ["4", "0 to 4, 3 x 3", "stays: it is lazy and has no shape yet (run the model once)", "0", "0"],
        ["all", "2 of 4 become units", "1,352", "560"],
    ]
    before = sum(p.numel() for p in model[:4].parameters())
    after = sum(p.numel() for p in convert_(model)[:4].parameters())
    assert before - after == 1352 - 560


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    model[1].weight = model[0].weight
    assert ["tied" in c.reason for c in convolutions(model)] == [True, True, False]
    convert_(model)
    assert model[1].weight is model[0].weight


def test_weights_that_have_another_name_stay_tied():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    model.kernel = model[0].weight
    assert ["tied" in c.reason for c in convolutions(model)] == [True, False]


@pytest.mark.parametrize("select", [3, [3], {"0": 1}])
def test_selections_of_another_kind(select):
    with pytest.raises(TypeError, match="select must be a function or patterns of names, got select="):
        convolutions(nn.Sequential(nn.Conv2d(3, 3, 3)), select)


def test_times_of_layers():
    """With images, the table has what a training step of each layer costs beside the convolution's."""
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), shared, nn.Dropout(), shared, nn.Conv2d(4, 4, 1))
    model[2].train(False)
    found = convolutions(model, images=torch.zeros(2, 3, 6, 6))
    assert all(c.times.now > 0 and c.times.then > 0 for c in found)
    assert [c.times.now == c.times.then for c in found] == [False, False, True]
    lines = str(found).splitlines()
    assert lines[0].split()[-4:] == ["parameters", "then", "ms", "then"]
    for line, (now, then, noisy) in zip(lines[1:4], (c.times for c in found), strict=True):
        assert line.split()[-2:] == [f"{'~' * noisy}{time:.2f}" for time in (now, then)]
    sums = [sum(times) for times in zip(*(c.times[:2] for c in found), strict=True)]
    assert [float(word) for word in lines[4].split()[-2:]] == pytest.approx(sums, abs=0.006)
    assert lines[5].startswith("ms: ")
    assert [module.training for module in model.modules()] == [True, True, True, False, True]
    assert not shared._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    assert "ms" not in str(convolutions(model))


def test_layers_that_cannot_be_timed_alone():
    """They stay, and so does what they do when the model runs."""

    class Masked(nn.Conv2d):
        def forward(self, input, mask):
            return super().forward(input) * mask

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = Masked(3, 3, 3), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.third(input=self.second(self.first(x, 1.0)))

    seen, net = [], Net()
    net.second.register_forward_hook(lambda *args: seen.append(args))
    found = convolutions(net, images=torch.zeros(1, 3, 5, 5))
    assert [c.times for c in found] == [None, None, None]
    assert len(seen) == 1


def test_times_of_layers_that_are_not_run():
    model = nn.ModuleDict({"used": nn.Conv2d(3, 4, 3), "other": nn.Conv2d(3, 4, 3)})
    model.forward = model["used"].forward
    assert [c.times is None for c in convolutions(model, images=torch.zeros(1, 3, 5, 5))] == [True, True]


@pytest.mark.parametrize(("units", "error"), [(-1, ValueError), (0, ValueError), ("x", TypeError), (1.5, TypeError)])
def test_numbers_of_units_that_do_not_fit(units, error):
    with pytest.raises(error, match="num_units must be"):
        convolutions(nn.Sequential(nn.Conv2d(3, 4, 3)), num_units=units)


def test_kernels_without_values_cannot_be_fitted():
    with pytest.raises(ValueError, match="1 left: its weight is on the meta device, and init='fit' needs its values"):
        convert_(nn.Sequential(nn.Conv2d(3, 4, 3, device="meta")), init="fit")
