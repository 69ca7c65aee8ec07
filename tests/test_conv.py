import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.operands import ALGORITHMS
from torchdau import DAUConv2d, dau_conv2d

OPTIONS = [
    {},
    {"num_units": 1, "stride": (2, 1), "padding": 1, "groups": 2, "bias": False},
    {"num_units": 3, "learn_sigma": True, "interpolation": "gaussian", "max_sigma": 0.8},
    {"max_displacement": 9.5, "displacement_gradient": "exact", "sigma": 0.35},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_layer_is_the_function_of_its_parameters(options):
    layer = DAUConv2d(4, 6, **options)
    x = torch.randn(2, 4, 11, 9)
    keys = ("stride", "padding", "groups", "max_displacement", "max_sigma", "interpolation", "displacement_gradient")
    expected = dau_conv2d(
        x, layer.weight, layer.displacement, layer.sigma, layer.bias, **{key: getattr(layer, key) for key in keys}
    )
    torch.testing.assert_close(layer(x), expected)
    assert eval(repr(layer), {"DAUConv2d": DAUConv2d}).extra_repr() == layer.extra_repr()


def test_starting_values():
    torch.manual_seed(0)
    layer = DAUConv2d(64, 32, num_units=2, learn_sigma=True)
    bound = (6 / (64 * 2 + 32 * 2)) ** 0.5  # Glorot uniform
    assert 0.95 * bound < layer.weight.abs().max() <= bound
    assert 1.45 < layer.displacement.abs().max() <= 1.5
    assert layer.displacement.mean().abs() < 0.05
    assert (layer.sigma == 0.5).all()
    assert (layer.bias == 0).all()
    assert DAUConv2d(3, 4, max_displacement=1).displacement.abs().max() <= 1


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [0, (2, 1), (-1, -7), ((1, 3), (2, -8))])
@pytest.mark.parametrize("gradient", ["smooth", "exact"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_padding_modes_continue_the_image_as_far_as_units_read(algorithm, mode, padding, gradient):
    options = {"displacement_gradient": gradient, "dtype": torch.float64, "algorithm": algorithm}
    layer = DAUConv2d(2, 3, padding_mode=mode, padding=padding, **options)
    with torch.no_grad():
        layer.displacement.uniform_(-4, 4)[0, 0, 0] = 4.0
    x = torch.randn(1, 2, 24, 25, dtype=torch.float64, requires_grad=True)
    output = layer(x)
    (top, bottom), (left, right) = ((p, p) if isinstance(p, int) else p for p in layer.padding)
    margin = 12
    zeros = DAUConv2d(2, 3, **options)
    zeros.load_state_dict(layer.state_dict())
    whole = zeros(F.pad(x, (margin,) * 4, mode=mode))
    expected = whole[..., margin - top : 24 + margin + bottom, margin - left : 25 + margin + right]
    torch.testing.assert_close(output, expected)
    upstream = torch.randn_like(output)
    for got, want in zip(
        torch.autograd.grad(output, [x, *layer.parameters()], upstream),
        torch.autograd.grad(expected, [x, *zeros.parameters()], upstream),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_a_width_below_that_of_learned_ones(sigma):
    """A unit is then one pixel, or two between two pixels."""
    layer = DAUConv2d(1, 1, num_units=1, sigma=sigma, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.displacement.copy_(torch.tensor([0.0, 1.25]))
    x = torch.randn(1, 1, 4, 6)
    torch.testing.assert_close(layer(x)[..., :4], 0.75 * x[..., 1:5] + 0.25 * x[..., 2:6])


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_one_image_without_a_batch(mode):
    layer, x = DAUConv2d(3, 4, padding_mode=mode), torch.randn(3, 12, 13)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


def test_circular_padding_commutes_with_rolling():
    layer = DAUConv2d(2, 3, padding_mode="circular", dtype=torch.float64)
    x = torch.randn(1, 2, 16, 17, dtype=torch.float64)
    torch.testing.assert_close(layer(x.roll((3, 5), (2, 3))), layer(x).roll((3, 5), (2, 3)))


def test_the_parameter_is_kept_within_its_bound_and_can_come_back():
    layer = DAUConv2d(1, 1, num_units=1, max_displacement=2, learn_sigma=True, algorithm="dense")
    optimizer = torch.optim.SGD([layer.displacement], lr=1e-3)
    with torch.no_grad():
        layer.displacement.fill_(99.0)
        layer.sigma.fill_(5.0)
        layer.weight.fill_(1.0)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    x = (0.3 * y).cos()[None, None] + (0.3 * x).cos()
    target = dau_conv2d(x, layer.weight.detach(), torch.full((1, 1, 1, 2), 1.0))
    layer(x)
    assert layer.displacement.tolist() == [[[[2.0, 2.0]]]]
    assert layer.sigma.tolist() == [[[1.0]]]
    for _ in range(300):
        optimizer.zero_grad()
        F.mse_loss(layer(x), target, reduction="sum").backward()
        optimizer.step()
    assert layer.displacement.max() < 1.9


def test_evaluation_changes_no_parameter():
    layer = DAUConv2d(1, 1).eval()
    with torch.no_grad():
        layer.displacement.fill_(9.0)
    layer(torch.randn(1, 1, 8, 8))
    assert (layer.displacement == 9).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_layer_used_twice_in_a_step(algorithm):
    layer = DAUConv2d(2, 2, learn_sigma=True, algorithm=algorithm)
    layer(layer(torch.randn(1, 2, 8, 8))).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("cast", [lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.to(torch.bfloat16)])
def test_half_precision_keeps_positions(cast):
    layer = DAUConv2d(2, 3, learn_sigma=True)
    positions = layer.displacement.detach().clone()
    layer(torch.randn(1, 2, 8, 8)).sum().backward()
    cast(layer)
    assert layer.weight.dtype == layer.bias.dtype == layer.weight.grad.dtype != torch.float32
    assert layer.displacement.dtype == layer.sigma.dtype == layer.displacement.grad.dtype == torch.float32
    torch.testing.assert_close(layer.displacement.detach(), positions, rtol=0, atol=0)
    assert layer(torch.randn(1, 2, 8, 8, dtype=layer.weight.dtype)).dtype == layer.weight.dtype
    assert DAUConv2d(2, 3, dtype=torch.bfloat16).displacement.dtype == torch.float32
    assert layer.double().displacement.dtype == torch.float64


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_copies_and_files(options):
    layer = DAUConv2d(4, 6, **options)
    x = torch.randn(1, 4, 8, 8)
    expected = layer(x)
    torch.testing.assert_close(copy.deepcopy(layer)(x), expected)
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x), expected)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = DAUConv2d(4, 6, **options)
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(other(x), expected)


def test_loading_refuses_what_is_not_finite():
    model = nn.Sequential(DAUConv2d(1, 2, learn_sigma=True))
    before = copy.deepcopy(model.state_dict())
    for name in ("0.displacement", "0.sigma"):
        state = copy.deepcopy(before)
        state[name].view(-1)[0] = float("nan")
        with pytest.raises(RuntimeError, match=f"{name} must be finite, got NaN or infinity"):
            model.load_state_dict(state)
    torch.testing.assert_close(model.state_dict(), before)


def test_loading_refuses_what_the_layer_cannot_hold():
    far = DAUConv2d(1, 1, max_displacement=8)
    with torch.no_grad():
        far.displacement.fill_(7.0)
    with pytest.raises(
        RuntimeError, match=r"displacement must be between -4.0 and 4.0 pixels, got .* 7.0 .* saved with"
    ):
        DAUConv2d(1, 1).load_state_dict(far.state_dict())


def test_a_state_dict_is_within_the_bounds():
    layer = DAUConv2d(1, 1)
    with torch.no_grad():
        layer.displacement.fill_(9.0)  # as after a step of an optimizer
    assert (layer.state_dict()["displacement"] == 4).all()
    DAUConv2d(1, 1).load_state_dict(layer.state_dict())


@pytest.mark.parametrize("bound", [0.3, 0.6, 0.8, 1.1])
def test_a_state_dict_on_a_bound_that_float32_rounds(bound):
    layer = DAUConv2d(1, 1, learn_sigma=True, sigma=0.2, max_sigma=bound, max_displacement=bound)
    with torch.no_grad():
        layer.displacement.fill_(9.0)
        layer.sigma.fill_(9.0)
    layer.load_state_dict(layer.state_dict())


def test_loading_refuses_a_sigma_that_is_too_small():
    layer = DAUConv2d(1, 1, learn_sigma=True)
    for value in (-0.7, 0.0):
        state = layer.state_dict() | {"sigma": torch.full((1, 1, 2), value)}
        with pytest.raises(RuntimeError, match=r"sigma must be between 0.1 and 1.0 pixels, got values from"):
            layer.load_state_dict(state)


def test_assigned_state_keeps_its_precision():
    layer = DAUConv2d(1, 1)
    state = {name: value.half() for name, value in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)
    assert (layer.weight.dtype, layer.displacement.dtype) == (torch.float16, torch.float32)


def test_meta_device():
    layer = DAUConv2d(2, 3, device="meta")
    assert layer(torch.empty(1, 2, 9, 9, device="meta")).shape == (1, 3, 9, 9)
    layer.load_state_dict(DAUConv2d(2, 3, device="meta").state_dict())


def test_a_sigma_that_is_set_later():
    layer = DAUConv2d(1, 1, padding_mode="circular", dtype=torch.float64)
    layer.sigma = 2.0
    x = torch.randn(1, 1, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(layer(x.roll(5, 2)), layer(x).roll(5, 2))
    assert "sigma=2.0" in repr(layer)


def test_other_ways_to_make_it():
    with torch.device("meta"):
        layer = DAUConv2d(2, 3, learn_sigma=True)
    assert layer.displacement.is_meta
    layer = nn.utils.skip_init(DAUConv2d, 2, 3)
    layer.reset_parameters()
    assert layer.displacement.abs().max() <= 1.5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("learn_sigma", [False, True])
def test_compiles_whole(algorithm, learn_sigma):
    torch.manual_seed(0)
    layer = DAUConv2d(3, 4, learn_sigma=learn_sigma, algorithm=algorithm)
    with torch.no_grad():
        layer.displacement[0, 0, 0, 0] = 9.0  # is clipped in both
    twin = copy.deepcopy(layer)
    x = torch.randn(2, 3, 12, 12, requires_grad=True)
    x2 = x.detach().clone().requires_grad_()
    expected, got = layer(x), torch.compile(twin, fullgraph=True)(x2)
    torch.testing.assert_close(got, expected)
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    got.backward(upstream)
    torch.testing.assert_close(x2.grad, x.grad)
    for a, b in zip(twin.parameters(), layer.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
@pytest.mark.parametrize("dynamic", [pytest.param(None, marks=pytest.mark.slow), True])
def test_compiles_for_changing_sizes(algorithm, dynamic):
    layer = torch.compile(DAUConv2d(3, 4, algorithm=algorithm).eval(), fullgraph=True, dynamic=dynamic)
    for shape in [(2, 3, 12, 12), (5, 3, 17, 40), (1, 3, 9, 9)]:
        x = torch.randn(shape)
        torch.testing.assert_close(layer(x), layer._orig_mod(x))


def test_compiles_for_changing_bounds():
    for options in ({"max_displacement": 4}, {"max_displacement": 8.5}, {"sigma": 0.3}):
        layer = DAUConv2d(3, 4, algorithm="dense", **options)
        x = torch.randn(1, 3, 9, 9)
        expected = layer(x)
        layer.compile(fullgraph=True)
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
def test_channels_last_stays(padding_mode):
    x = torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last)
    assert DAUConv2d(3, 4, padding_mode=padding_mode)(x).is_contiguous(memory_format=torch.channels_last)
    assert DAUConv2d(3, 4, padding_mode=padding_mode)(x.contiguous()).is_contiguous()


@pytest.mark.parametrize("value", [2.01, -2.01])
def test_a_displacement_just_beyond_its_bound_is_clipped(value):
    layer = DAUConv2d(1, 1, max_displacement=2)
    layer.displacement.data.fill_(value)
    layer(torch.zeros(1, 1, 3, 3))
    assert layer.displacement.abs().max() == 2
