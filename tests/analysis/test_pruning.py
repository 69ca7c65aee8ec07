"""What networks weigh as their weak units go."""

import torch
from torch import nn

from torchdau import DAUConv2d
from torchdau.analysis import forward_times, pruned_models


def network():
    model = nn.Sequential(DAUConv2d(1, 4, num_units=2, bias=False), nn.ReLU(), DAUConv2d(4, 1, num_units=3))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1.0, 9).view(4, 1, 2))
        model[2].weight.fill_(-1)
    return model


def test_pruned_models():
    model = network()
    steps = pruned_models(model, [0, 0.5, 0.9])
    assert [(step.threshold, step.units, step.parameters) for step in steps] == [
        (0, 20, 61),
        (0.5, 17, 52),
        (0.9, 13, 40),
    ]
    assert [step.removed for step in steps] == [0, 1 - 17 / 20, 1 - 13 / 20]
    assert steps[0].file_size > steps[1].file_size > steps[2].file_size
    assert type(model[0]) is DAUConv2d
    image = torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(steps[0].model(image), model(image))


def test_forward_times_calls_in_turn():
    calls = []
    models = [lambda _, name=name: calls.append(name) for name in "ab"]
    assert len(forward_times(models, torch.ones(1), repeats=2)) == 2
    assert "".join(calls) == "ababab"
