"""Pruning: a pruned layer computes what the layer with zeros in its place does, with fewer parameters."""

import copy
import io

import pytest
import torch
from torch import nn

import torchdau
from torchdau import DAUConv2d, fold_, kernels, prune_units_, rescale_, weak_units
from torchdau.surgery.prune import PrunedDAUConv2d

FORMS = [{}, {"learn_sigma": True}, {"groups": 2, "stride": 2, "bias": False, "dtype": torch.float64}]


def pruned_and_zeroed(threshold=0.4, **options):
    torch.manual_seed(0)
    layer = DAUConv2d(6, 8, num_units=3, **options)
    zeroed = DAUConv2d(6, 8, num_units=3, **options)
    zeroed.load_state_dict(layer.state_dict())
    with torch.no_grad():
        zeroed.weight[layer.weight.abs() < threshold * layer.weight.abs().max()] = 0
    return prune_units_(nn.Sequential(layer), threshold)[0], zeroed


@pytest.mark.parametrize("algorithm", ["reference", "dense", "spectral", "direct", "auto"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_equals_the_layer_with_zeros(form, algorithm):
    if algorithm == "direct" and (form or not kernels.available()):
        pytest.skip("direct serves layers in float32 whose units share one sigma")
    pruned, zeroed = pruned_and_zeroed(**form, algorithm=algorithm)
    left = zeroed.weight != 0
    assert isinstance(pruned, PrunedDAUConv2d)
    assert pruned.weight.shape == (left.sum(),)
    assert pruned.displacement.shape == (left.sum(), 2)
    assert torch.equal(pruned.counts, left.sum(2, dtype=torch.int32))
    x = torch.randn(2, 6, 9, 10, dtype=pruned.weight.dtype)
    outputs = []
    for layer in (pruned, zeroed):
        output = layer(x)
        output.square().sum().backward()
        outputs.append(output)
    torch.testing.assert_close(*outputs)
    for name in ("weight", "displacement", "sigma"):
        if isinstance(getattr(zeroed, name), nn.Parameter):
            torch.testing.assert_close(
                getattr(pruned, name).grad, getattr(zeroed, name).grad[left], rtol=1e-4, atol=1e-5
            )


def test_the_state_dict_shrinks_and_loads():
    pruned, zeroed = pruned_and_zeroed(0.5)

    def size(layer):
        file = io.BytesIO()
        torch.save(layer.state_dict(), file)
        return file.getbuffer().nbytes

    assert sum(t.numel() for t in pruned.state_dict().values()) < 0.8 * sum(
        t.numel() for t in zeroed.state_dict().values()
    )
    x = torch.randn(1, 6, 8, 8)
    other = prune_units_(nn.Sequential(DAUConv2d(6, 8, num_units=3)), 0)[0]
    nowhere = copy.deepcopy(other).to("meta")
    for again in (PrunedDAUConv2d(pruned.counts, **pruned.arguments()), other, nowhere.to_empty(device="cpu")):
        again.load_state_dict(pruned.state_dict())
        torch.testing.assert_close(again(x), pruned(x), rtol=0, atol=0)
        assert again.weight.shape == pruned.weight.shape
    with pytest.raises(
        RuntimeError, match=r"weight was saved by a pruned layer. Apply prune_units_\(model, 0\) before"
    ):
        zeroed.load_state_dict(pruned.state_dict())
    with pytest.raises(ValueError, match=r"counts must be numbers of units of shape \(8, 6\), got counts of \(3,\)"):
        PrunedDAUConv2d(torch.ones(3), **pruned.arguments())


def test_weak_units_and_the_report(caplog):
    torch.manual_seed(0)
    model = nn.Sequential(DAUConv2d(4, 4, num_units=2), nn.ReLU(), DAUConv2d(4, 8, num_units=2))
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].weight[0, :2, 0] = 0.1
        model[2].weight.fill_(-3).view(-1)[:60] = 0.29
    assert weak_units(model, 0.09) == {"0": (0, 32), "2": (0, 64)}
    assert weak_units(model, 0.11) == {"0": (2, 32), "2": (60, 64)}
    with caplog.at_level("INFO", logger="torchdau"):
        prune_units_(model, 0.11)
    assert "0: 2 of 32 units removed" in caplog.text
    assert "2: 60 of 64 units removed" in caplog.text
    assert weak_units(model, 0.11) == {"0": (0, 30), "2": (0, 4)}
    assert "30 units in 16 filters" in repr(model)
    prune_units_(model, 0.11)
    assert model[2].weight.numel() == 4
    assert model[2](torch.randn(1, 4, 5, 5)).shape == (1, 8, 5, 5)


def test_pruning_again_and_training_on():
    torch.manual_seed(0)
    model = prune_units_(nn.Sequential(DAUConv2d(3, 8, num_units=4), nn.ReLU(), DAUConv2d(8, 1, num_units=4)), 0.3)
    x = torch.randn(4, 3, 10, 10)
    optimizer = torch.optim.Adam(torchdau.parameter_groups(model, lr=0.01, displacement_lr=0.05))
    before = (model(x) - x[:, :1]).square().mean().item()
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(x) - x[:, :1]).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * before
    units = model[0].weight.numel()
    prune_units_(model, 0.5)
    assert model[0].weight.numel() < units
    assert model(x).isfinite().all()


def test_everything_weak_but_the_largest():
    layer = DAUConv2d(2, 3, num_units=2)
    with torch.no_grad():
        layer.weight.fill_(0.1)[1, 1, 1] = -5
    pruned = prune_units_(nn.Sequential(layer), 0.99)[0]
    assert pruned.counts.tolist() == [[0, 0], [0, 1], [0, 0]]
    x = torch.randn(1, 2, 6, 6)
    assert (pruned(x)[:, [0, 2]] == pruned.bias[[0, 2], None, None]).all()
    assert pruned(x)[:, 1].abs().max() > 0


def test_a_layer_of_zeros_keeps_its_units():
    layer = DAUConv2d(2, 3, num_units=2)
    nn.init.zeros_(layer.weight)
    assert prune_units_(nn.Sequential(layer), 0.5)[0].weight.numel() == 12


def test_merging():
    layer = DAUConv2d(1, 2, num_units=4, dtype=torch.float64, algorithm="dense")
    with torch.no_grad():
        layer.displacement[:] = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [1.0, 2.0], [1.0, 2.0]])
        layer.weight[0, 0] = torch.tensor([0.3, 1.0, 0.4, -0.1])
        layer.weight[1, 0] = torch.tensor([0.3, 1.0, 0.4, -0.7])
    x = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    expected = layer(x)
    apart = prune_units_(nn.Sequential(layer), 0.0)
    assert apart[0].weight.numel() == 8
    merged = prune_units_(nn.Sequential(layer), 0.0, merge=0)
    assert merged[0].counts.tolist() == [[2], [2]]
    torch.testing.assert_close(merged(x), expected)
    assert prune_units_(apart, 0.0, merge=0)[0].weight.numel() == 4
    gone = prune_units_(merged, 0.1)[0]  # 0.3 + 0.4 - 0.7 = 0
    assert gone.counts.tolist() == [[2], [1]]
    torch.testing.assert_close(gone(x), expected)


def test_half_precision_folding_and_rescaling():
    pruned, _ = pruned_and_zeroed()
    x = torch.randn(1, 6, 12, 12)
    expected = pruned(x)
    folded = fold_(nn.Sequential(pruned))
    torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-5)
    half = nn.Sequential(pruned).bfloat16()
    assert (half[0].weight.dtype, half[0].displacement.dtype) == (torch.bfloat16, torch.float32)
    assert half(x.bfloat16()).dtype == torch.bfloat16
    rescale_(half, 2)
    assert half[0].max_displacement == 8


def test_new_starting_values():
    pruned, _ = pruned_and_zeroed(learn_sigma=True)
    before = copy.deepcopy(pruned.state_dict())
    nn.init.ones_(pruned.bias)
    pruned.reset_parameters()
    bound = (6 / ((6 + 8) * pruned.num_units)) ** 0.5  # Glorot's
    assert 0.8 * bound < pruned.weight.abs().max() <= bound
    assert 1 < pruned.displacement.abs().max() <= 1.5
    assert (pruned.sigma == 0.5).all()
    assert not pruned.bias.any()
    assert torch.equal(pruned.counts, before["counts"])
    assert not torch.equal(pruned.displacement, before["displacement"])


def test_what_a_pruned_layer_takes_over():
    layer = DAUConv2d(4, 4, num_units=2).eval().requires_grad_(False)
    pruned = prune_units_(nn.Sequential(layer), 0.5)[0]
    assert not pruned.training
    assert not any(p.requires_grad for p in pruned.parameters())
    assert not any(p.requires_grad for p in fold_(nn.Sequential(layer)).parameters())


def test_pruning_by_nothing_keeps_room_for_nothing():
    """Units that fill up a filter are no units, also where no threshold removes them."""
    pruned, _ = pruned_and_zeroed()
    again = prune_units_(nn.Sequential(pruned), 0)[0]
    assert torch.equal(again.counts, pruned.counts)
    merged = prune_units_(nn.Sequential(pruned), 0, merge=0.0)[0]
    assert torch.equal(merged.counts, pruned.counts)


@pytest.mark.parametrize("change", [lambda model: prune_units_(model, 0.5), fold_])
def test_hooks_are_not_lost(change):
    model = nn.Sequential(DAUConv2d(4, 4))
    model[0].register_forward_hook(lambda *args: None)
    with pytest.raises(ValueError, match=r"model must have no hooks .*, got some in '0'. Remove them"):
        change(model)
    assert type(model[0]) is DAUConv2d


def test_shared_layers_stay_shared():
    layer = DAUConv2d(4, 4)
    model = prune_units_(nn.Sequential(layer, nn.Sequential(layer)), 0.5)
    assert isinstance(model[0], PrunedDAUConv2d)
    assert model[0] is model[1][0]


@pytest.mark.parametrize("threshold", [-0.1, 1, 1.5, float("nan")])
def test_thresholds_that_do_not_fit(threshold):
    model = nn.Sequential(DAUConv2d(4, 4))
    layer = model[0]
    for function in (prune_units_, weak_units):
        with pytest.raises(ValueError, match=f"threshold must be .*got threshold={threshold}"):
            function(model, threshold)
    assert model[0] is layer


def test_what_cannot_be_pruned():
    model = nn.Sequential(DAUConv2d(4, 4), DAUConv2d(4, 4))
    before = list(model)
    with torch.no_grad():
        model[1].weight[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="model must have finite weights, got NaN or infinity in layer '1'"):
        prune_units_(model, 0.1)
    with pytest.raises(ValueError, match="merge must be between 0 and inf pixels, got merge=-1"):
        prune_units_(model, 0.1, merge=-1)
    with pytest.raises(ValueError, match=r"got a bare DAUConv2d. Wrap it in nn.Sequential"):
        prune_units_(model[0], 0.1)
    with pytest.raises(ValueError, match="must have unit layers, got Linear with none"):
        prune_units_(nn.Linear(2, 2), 0.1)
    assert list(model) == before


def test_a_frozen_layer_stays_frozen_with_other_counts():
    model = nn.Sequential(DAUConv2d(4, 4, num_units=3))
    all_units, fewer = prune_units_(copy.deepcopy(model), 0), prune_units_(model, 0.5)
    all_units.requires_grad_(False).load_state_dict(fewer.state_dict())
    assert all_units[0].weight.numel() == fewer[0].weight.numel()
    assert not any(parameter.requires_grad for parameter in all_units.parameters())


@pytest.mark.parametrize("change", [lambda model: prune_units_(model, 0.1), lambda model: rescale_(model, 2)])
def test_parametrized_layers_are_refused(change):
    model = nn.Sequential(DAUConv2d(4, 4))
    torch.nn.utils.parametrizations.weight_norm(model[0])
    with pytest.raises(ValueError, match=r"parametrized one in '0'\. Remove the weight norm"):
        change(model)
    assert model[0].max_displacement == 4
