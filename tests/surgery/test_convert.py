"""Whole models to units and back. With a unit on every tap a conversion is exact, which shows all of its geometry."""

from functools import partial

import pytest
import torch
from torch import nn

import torchdau
from benchmarks import architectures
from torchdau import DAUConv2d, convert_, convolutions, fold_, pool_strides_, prune_units_, rescale_
from torchdau.surgery.candidates import SAME, STANDARDISED
from torchdau.surgery.units import Pooled

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own layer

NARROW = 0.02  # a sigma at which a unit is one pixel

CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
    {"kernel_size": 3, "padding": 1, "stride": 3, "groups": 4, "bias": False},
    {"kernel_size": 2},
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 2, "padding": 1, "dilation": 3},
    {"kernel_size": 4, "stride": 4},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 7, "stride": 2, "padding": 3},
    {"kernel_size": (1, 5), "padding": (0, 2)},
    {"kernel_size": (4, 1), "padding": (3, 1), "stride": (2, 1)},
    {"kernel_size": (2, 3), "padding": "same"},
    {"kernel_size": (3, 4), "padding": "valid", "dilation": (1, 2)},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": 0, "padding_mode": "circular"},
    {"kernel_size": 4, "padding": 2, "padding_mode": "replicate", "stride": 2},
]


def convolution(options, channels=4):
    torch.manual_seed(0)
    return nn.Conv2d(channels, 8, **options, dtype=torch.float64)


def images(model, sizes=range(12, 17), channels=4):
    torch.manual_seed(1)
    for height in sizes:
        yield torch.randn(2, channels, height, height + 3, dtype=torch.float64)


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_a_unit_on_every_tap_is_exact(options):
    conv = convolution(options)
    area = conv.weight[0, 0].numel()
    model = nn.Sequential(conv)
    for units in (area, area + 2):
        converted = convert_(nn.Sequential(conv), units, select="*", init="fit", sigma=NARROW)
        assert isinstance(converted[0], DAUConv2d)
        for x in images(model):
            torch.testing.assert_close(converted(x), model(x))
        folded = fold_(converted)
        assert type(folded[0]) is nn.Conv2d
        for x in images(model):
            torch.testing.assert_close(folded(x), model(x))


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("form", [{}, {"learn_sigma": True}, {"interpolation": "gaussian", "sigma": 0.7}], ids=str)
def test_folding_new_units(options, form):
    model = nn.Sequential(convolution(options))
    shapes = [model(x).shape for x in images(model, range(20, 24))]
    convert_(model, 2, select="*", **form)
    before = [model(x) for x in images(model, range(20, 24))]
    assert [y.shape for y in before] == shapes
    if options.get("padding_mode", "zeros") == "zeros":  # else folding needs as much image as the units could reach
        fold_(model)
        for x, y in zip(images(model, range(20, 24)), before, strict=True):
            torch.testing.assert_close(model(x), y)


@pytest.mark.parametrize("name", [*SAME, "StdConv2d", "ScaledStdConv2d"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2), (5, 3)])
def test_convolutions_of_timm(name, kernel, stride):
    layers = pytest.importorskip("timm.layers")
    if name in SAME:
        conv = getattr(layers, name)(4, 8, kernel, stride).double()
    else:
        conv = getattr(layers, name)(4, 8, kernel, stride, kernel // 2).double()
    model = convert_(nn.Sequential(conv), select="*")
    for x in images(model, range(12, 20)):
        assert model(x).shape == conv(x).shape
    if name in STANDARDISED:
        with pytest.raises(ValueError, match="1 left: its weight is standardised"):
            convert_(nn.Sequential(conv), select="*", init="fit")
        return
    convert_(model := nn.Sequential(conv), kernel**2, select="*", init="fit", sigma=NARROW)
    x = torch.randn(1, 4, 6 * stride, 4 * stride, dtype=torch.float64)
    torch.testing.assert_close(model(x), conv(x))


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_convnext", "test_nfnet", "mobilenetv3_small_050", "test_mambaout"]
)
def test_architectures_of_timm(name):
    """A sample of what benchmarks/architectures.py tries."""
    timm = pytest.importorskip("timm")
    row = architectures.check("", name, partial(timm.create_model, name), (64,))
    assert row["result"] == "passed"
    assert int(row["converted"]) > 5


@pytest.mark.parametrize(
    ("family", "name"), [("torchvision", "shufflenet_v2_x0_5"), ("segmentation", "lraspp_mobilenet_v3_large")]
)
def test_architectures_of_torchvision(family, name):
    assert architectures.of_torchvision(family, name)["result"] == "passed"


def test_the_report_is_logged(caplog):
    with caplog.at_level("INFO", logger="torchdau"):
        convert_(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)))
    assert "converted 1 of 3 convolutions to units, 216 parameters to 144. 2 left: its kernel is 1 x 1" in caplog.text


def test_folding_says_what_it_will_cost(caplog):
    layer = DAUConv2d(3, 8, bias=False)
    torch.nn.init.constant_(layer.displacement, 2.5)
    (folded,) = fold_(nn.Sequential(layer))
    assert f"folding 1 unit layers to kernels: 144 parameters become {folded.weight.numel()}" in caplog.text


@pytest.mark.filterwarnings("ignore::UserWarning:torch.ao")  # of quantized tensors
def test_nothing_to_convert_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Linear(4, 4))
    before = list(model)
    with pytest.raises(
        ValueError, match=r"model must have a convolution to convert, got none. 1 left: its kernel is 1 x 1"
    ):
        convert_(model)
    assert list(model) == before
    with pytest.raises(ValueError, match=r"got none. 1 left: it is quantized \(convert first\)"):
        convert_(nn.Sequential(torch.ao.nn.quantized.Conv2d(2, 2, 3)))
    with pytest.raises(ValueError, match=r"got none. 1 ConvTranspose2d, for which there are no units"):
        convert_(nn.Sequential(nn.ConvTranspose2d(4, 4, 3)))
    with pytest.raises(ValueError, match=r"got a bare Conv2d. Wrap it in nn.Sequential"):
        convert_(nn.Conv2d(4, 4, 3))
    with pytest.raises(ValueError, match=r"got a bare DAUConv2d. Wrap it"):
        fold_(DAUConv2d(4, 4))
    for change in (fold_, lambda m: rescale_(m, 2)):
        with pytest.raises(ValueError, match="model must have unit layers, got Sequential with none"):
            change(model)


def test_an_error_in_the_middle_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 99))
    before = list(model)
    with pytest.raises(ValueError, match="num_units must be at least 1"):
        convert_(model, 0)
    with pytest.raises(ValueError, match="max_displacement must be between 0 and"):
        convert_(nn.Sequential(model[0], nn.Conv2d(8, 8, 3, dilation=20000)))
    with pytest.raises(
        ValueError, match="max_displacement must be at least the reach of the kernel for init='fit', got"
    ):
        convert_(model, init="fit", max_displacement=4)
    with pytest.raises(ValueError, match="interpolation must be one of"):
        convert_(model, interpolation="cubic")
    with pytest.raises(
        TypeError, match="options must be arguments of DAUConv2d that a convolution does not set, got s"
    ):
        convert_(model, stride=2)
    with pytest.raises(ValueError, match="init must be one of 'uniform', 'fit', got init='random'"):
        convert_(model, init="random")
    with pytest.raises(ValueError, match="strides must be one of"):
        convert_(model, strides="pool")
    with pytest.raises(
        ValueError, match=r"select must fit the name of a convolution, got 'layer1.\*'. The names are 0, 1"
    ):
        convert_(model, select="layer1.*")
    assert list(model) == before


def test_shared_modules_stay_shared():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(conv, nn.Sequential(conv), conv)
    assert [c.names for c in convolutions(model)] == [("0", "1.0", "2")]
    convert_(model)
    assert isinstance(model[0], DAUConv2d)
    assert model[0] is model[1][0] is model[2]
    fold_(model)
    assert model[0] is model[1][0] is model[2]


def test_what_a_layer_takes_over():
    conv = nn.Conv2d(4, 8, 3, dtype=torch.bfloat16).eval()
    layer = convert_(nn.Sequential(conv).eval(), select="*", sigma=0.35, max_displacement=6)[0]
    assert (layer.weight.dtype, layer.displacement.dtype) == (torch.bfloat16, torch.float32)
    assert not layer.training
    assert (layer.sigma, layer.max_displacement) == (0.35, 6)
    torch.testing.assert_close(layer.bias, conv.bias)
    assert (layer.kernel_size, layer.dilation) == ((3, 3), (1, 1))  # which models ask for
    assert prune_units_(nn.Sequential(layer), 0.5)[0].kernel_size == (3, 3)


@pytest.mark.parametrize(
    ("options", "area", "centre", "bound"),
    [
        ({"kernel_size": 3, "padding": 1}, (1.5, 1.5), (0, 0), 4),
        ({"kernel_size": (1, 7), "padding": (0, 3)}, (0.5, 3.5), (0, 0), 4),
        ({"kernel_size": 4, "stride": 4}, (2, 2), (0.5, 0.5), 4),
        ({"kernel_size": 3, "padding": 12, "dilation": 12}, (12.5, 12.5), (0, 0), 12.5),
    ],
    ids=str,
)
def test_where_new_units_are(options, area, centre, bound):
    layer = convert_(nn.Sequential(nn.Conv2d(32, 64, **options)), select="*")[0]
    assert layer.max_displacement == bound
    for axis in range(2):
        mu = layer.displacement[..., axis] - centre[axis]
        assert mu.abs().max() <= area[axis]
        assert mu.abs().max() > 0.95 * area[axis]


@pytest.mark.parametrize("size", [16, 17])
def test_max_pool_takes_the_stride(size):
    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    x = torch.randn(1, 4, size, size)
    shape = model(x).shape
    convert_(model, strides="max_pool")
    assert model(x).shape == shape
    pool, units = model[0]
    assert isinstance(pool, nn.MaxPool2d)
    assert units.stride == (1, 1)
    assert isinstance(model[1], DAUConv2d)
    with pytest.raises(ValueError, match=r"output has not ceil\(size / stride\) pixels"):
        convert_(nn.Sequential(nn.Conv2d(4, 8, 2, stride=2)), select="*", strides="max_pool")


def test_pool_strides():
    """Weights and the size of the output stay; what a max-pool lets through is what it takes."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3, stride=2, padding=1)
    model = nn.Sequential(conv, nn.Conv2d(8, 8, 1, stride=3), nn.Conv2d(8, 8, 3))
    x = torch.randn(2, 4, 25, 30)
    shape, parameters = model(x).shape, list(model.parameters())
    pool_strides_(model)
    assert [isinstance(layer, Pooled) for layer in model] == [True, True, False]
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert model(x).shape == shape
    expected = nn.functional.conv2d(nn.functional.max_pool2d(x, 2, ceil_mode=True), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(model[0](x), expected)
    assert conv.stride == (2, 2)
    assert isinstance(convert_(model)[0][1], DAUConv2d)
    with pytest.raises(ValueError, match="model must have a convolution with a stride, got none"):
        pool_strides_(nn.Sequential(nn.Conv2d(3, 3, 3)))
    strided = nn.Sequential(nn.Conv2d(3, 3, 3, stride=2))
    with pytest.raises(ValueError, match=r"must have strided convolutions whose .* in '0'. Leave it out"):
        pool_strides_(strided)
    assert type(strided[0]) is nn.Conv2d


@pytest.mark.parametrize("padding", [-6, ((-6, -9), 2), ((3, -8), (-7, 1))], ids=str)
@torch.no_grad()
def test_folding_units_that_reach_less_far_than_outputs_are_cropped(padding):
    layer = DAUConv2d(2, 3, num_units=1, padding=padding, sigma=NARROW, max_displacement=1, dtype=torch.float64)
    x = torch.randn(1, 2, 24, 25, dtype=torch.float64)
    torch.testing.assert_close(fold_(nn.Sequential(layer))(x), layer(x))


def test_rescale():
    layer = DAUConv2d(4, 8, num_units=3)
    before = layer.displacement.clone()
    assert rescale_(layer, 4) is layer
    torch.testing.assert_close(layer.displacement, 4 * before)
    assert layer.max_displacement == 16
    for factor in (True, "2", torch.tensor(2.0)):
        with pytest.raises(TypeError, match="factor must be a number, got factor="):
            rescale_(layer, factor)
    for factor in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"factor must be above 0 and keep .* got factor={factor} for max_dis.*16"):
            rescale_(layer, factor)
    torch.testing.assert_close(layer.displacement, 4 * before)


def test_units_of_a_converted_network_learn():
    torch.manual_seed(0)
    model = convert_(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)))
    x = torch.randn(4, 1, 12, 12)
    target = x.roll(2, -1)
    optimizer = torch.optim.Adam(torchdau.parameter_groups(model, lr=0.01, displacement_lr=0.05))
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("spared", [{"0.bias"}, lambda: {"0.bias"}])
def test_names_of_parameters_that_must_not_decay_are_kept(spared):
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model.no_weight_decay = spared
    assert convert_(model).no_weight_decay() == {"0.bias", "*.displacement", "*.sigma"}
