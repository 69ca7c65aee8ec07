"""Bad input: a Python error that names the argument, its value and the remedy, and never a crash."""

import math

import pytest
import torch

from torchdau import DAUConv2d, dau_conv2d

X, W, MU = torch.zeros(2, 4, 5, 6), torch.zeros(8, 4, 3), torch.zeros(8, 4, 3, 2)
SIGMA = torch.full((8, 4, 3), 0.5)


def filled(tensor, value):
    tensor = tensor.clone()
    tensor.view(-1)[1] = value
    return tensor


FUNCTION = [
    ({"input": X[0, 0]}, ValueError, r"input must be \(N, C, H, W\) or \(C, H, W\), got input of shape \(5, 6\)"),
    ({"input": X[:, :3]}, ValueError, r"input must have 4 channels, got 3 channels for weight of shape \(8, 4, 3\)"),
    ({"input": X.numpy()}, TypeError, "input must be a tensor, got input of type ndarray"),
    ({"input": X.long()}, TypeError, "input must be of a real floating-point type, got input of torch.int64"),
    (
        {"input": X.double()},
        TypeError,
        "weight must be of the type of the input, got weight of torch.float32 for input",
    ),
    ({"input": X[..., :0]}, ValueError, "input must have at least 1 pixel per axis after padding, got W=0"),
    ({"weight": W[0]}, ValueError, r"weight must be \(O, I, K\) with no size of 0, got weight of shape \(4, 3\)"),
    ({"weight": W[..., :0]}, ValueError, r"weight must be \(O, I, K\) with no size of 0"),
    ({"weight": W.to(torch.complex64)}, TypeError, "weight must be of a real floating-point type"),
    (
        {"weight": W.to("meta")},
        ValueError,
        "weight must be on the device of the input, got weight on meta for input on cpu",
    ),
    ({"displacement": MU[..., 0]}, ValueError, r"displacement must be of shape \(8, 4, 3, 2\), got .* \(8, 4, 3\)"),
    ({"displacement": filled(MU, math.nan)}, ValueError, "displacement must be finite, got values from nan"),
    ({"displacement": filled(MU, math.inf)}, ValueError, "displacement must be finite, got values from 0.0 to inf"),
    ({"displacement": filled(MU, 1e30)}, ValueError, "displacement must be at most 16384 pixels"),
    ({"sigma": SIGMA[0]}, ValueError, r"sigma must be of shape \(8, 4, 3\), got sigma of shape \(4, 3\)"),
    ({"sigma": 0}, ValueError, "sigma must be between 0.01 and 64 pixels, got sigma=0"),
    ({"sigma": -0.5}, ValueError, "sigma must be between 0.01 and 64 pixels, got sigma=-0.5"),
    ({"sigma": math.nan}, ValueError, "sigma must be between 0.01 and 64 pixels, got sigma=nan"),
    ({"sigma": math.inf}, ValueError, "sigma must be between 0.01 and 64 pixels, got sigma=inf"),
    ({"sigma": 1e9}, ValueError, "sigma must be between 0.01 and 64 pixels, got sigma=1000000000.0"),
    ({"sigma": "wide"}, TypeError, "sigma must be a number of pixels, got sigma='wide'"),
    ({"sigma": filled(SIGMA, 0.0)}, ValueError, "sigma must be above 0 pixels, got values from 0.0 to 0.5"),
    ({"sigma": filled(SIGMA, -1.0)}, ValueError, "sigma must be above 0 pixels, got values from -1.0"),
    ({"sigma": filled(SIGMA, math.nan)}, ValueError, "sigma must be finite, got values from nan"),
    ({"sigma": filled(SIGMA, 1e9)}, ValueError, "sigma must be at most 64 pixels"),
    ({"sigma": torch.tensor(0.0)}, ValueError, "sigma must be above 0 pixels"),
    (
        {"sigma": SIGMA, "max_sigma": 0.01},
        ValueError,
        "max_sigma must be between 0.1 and 64 pixels, got max_sigma=0.01",
    ),
    ({"bias": torch.zeros(4)}, ValueError, r"bias must be of shape \(8,\), got bias of shape \(4,\)"),
    ({"bias": torch.zeros(8).double()}, TypeError, "bias must be of the type of the input, got bias of torch.float64"),
    ({"stride": 0}, ValueError, "stride must be at least 1, got stride=0"),
    ({"stride": (1, -2)}, ValueError, "stride must be at least 1, got stride=-2"),
    ({"stride": 1.5}, TypeError, r"stride must be an integer or a pair of integers \(y, x\), got stride=1.5"),
    ({"stride": (1, 1, 1)}, TypeError, "stride must be an integer or a pair of integers"),
    ({"padding": "same"}, TypeError, "padding must be an integer, a pair of integers .* or two pairs"),
    ({"padding": (1, "2")}, TypeError, "padding must have an integer or a pair of integers for each axis"),
    ({"padding": ((-3, -2), 0)}, ValueError, r"got H=5 for padding=\(-3, -2\)"),
    ({"padding": -3}, ValueError, "input must have at least 1 pixel per axis after padding, got H=5 for padding=-3"),
    ({"groups": 0}, ValueError, "groups must be at least 1, got groups=0"),
    ({"groups": 3}, ValueError, "groups must divide the output channels, got groups=3 for 8 of them"),
    ({"groups": 2}, ValueError, "input must have 8 channels, got 4 channels .* groups=2"),
    (
        {"max_displacement": -1},
        ValueError,
        "max_displacement must be between 0 and 16384 pixels, got max_displacement=-1",
    ),
    ({"max_displacement": math.nan}, ValueError, "max_displacement must be between 0 and 16384 pixels"),
    ({"max_sigma": "wide"}, TypeError, "max_sigma must be a number of pixels, got max_sigma='wide'"),
    (
        {"interpolation": "cubic"},
        ValueError,
        "interpolation must be one of 'bilinear', 'gaussian', got interpolation='cubic'",
    ),
    ({"displacement_gradient": "none"}, ValueError, "displacement_gradient must be one of 'smooth', 'exact'"),
    ({"algorithm": "fast"}, ValueError, "algorithm must be one of 'auto', 'reference', 'dense', 'spectral'"),
]


@pytest.mark.parametrize(("changed", "error", "message"), FUNCTION, ids=lambda v: v if isinstance(v, str) else "")
def test_function(changed, error, message):
    arguments = {"input": X, "weight": W, "displacement": MU} | changed
    with pytest.raises(error, match=message):
        dau_conv2d(**arguments)


LAYER = [
    ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got in_channels=0"),
    ({"out_channels": -1}, ValueError, "out_channels must be at least 1, got out_channels=-1"),
    ({"num_units": 0}, ValueError, "num_units must be at least 1, got num_units=0"),
    ({"num_units": 2.0}, TypeError, "num_units must be an integer, got num_units=2.0"),
    ({"groups": 3}, ValueError, "in_channels must be a multiple of groups, got in_channels=4 for groups=3"),
    ({"stride": 0}, ValueError, "stride must be at least 1, got stride=0"),
    ({"padding": 0.5}, TypeError, "padding must be an integer, a pair"),
    ({"padding": ((1, 2, 3), 1)}, TypeError, "padding must have an integer or a pair of integers for each axis, got"),
    ({"padding_mode": "mirror"}, ValueError, "padding_mode must be one of 'zeros', 'reflect', 'replicate', 'circular'"),
    ({"sigma": 0}, ValueError, "sigma must be between 0.01 and 64 pixels, got sigma=0"),
    ({"sigma": 2.0, "learn_sigma": True}, ValueError, "sigma must be between 0.1 and 1.0 pixels, got sigma=2.0"),
    ({"max_sigma": math.inf, "learn_sigma": True}, ValueError, "max_sigma must be between 0.1 and 64 pixels"),
    ({"max_displacement": math.inf}, ValueError, "max_displacement must be between 0 and 16384 pixels"),
    ({"algorithm": "fast"}, ValueError, "algorithm must be one of 'auto'"),
    ({"interpolation": "cubic"}, ValueError, "interpolation must be one of"),
    ({"displacement_gradient": "none"}, ValueError, "displacement_gradient must be one of"),
    ({"dtype": torch.int8}, TypeError, "dtype must be a real floating-point type, got dtype=torch.int8"),
]


@pytest.mark.parametrize(("changed", "error", "message"), LAYER, ids=lambda v: v if isinstance(v, str) else "")
def test_layer(changed, error, message):
    with pytest.raises(error, match=message):
        DAUConv2d(**({"in_channels": 4, "out_channels": 8} | changed))


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("input", "error", "message"),
    [
        (X[0, 0], ValueError, r"input must be \(N, C, H, W\) or \(C, H, W\), got input of shape \(5, 6\)"),
        (X.numpy(), TypeError, "input must be a tensor, got input of type ndarray"),
        (None, TypeError, "input must be a tensor, got input of type NoneType"),
        (X[..., :0], ValueError, "input must have at least 1 pixel per axis"),
    ],
    ids=["rank", "array", "none", "empty"],
)
def test_input_of_the_layer(padding_mode, input, error, message):
    with pytest.raises(error, match=message):
        DAUConv2d(4, 8, padding_mode=padding_mode)(input)


@pytest.mark.parametrize("name", ["displacement", "sigma"])
def test_bounds_cannot_be_read_from_tensors_without_values(name):
    bounds = {"max_displacement": 4.0, "max_sigma": 1.0}
    del bounds[f"max_{name}"]
    with pytest.raises(ValueError, match=f"max_{name} must be given where {name} has no values to read"):
        dau_conv2d(*(t.to("meta") for t in (X, W, MU, SIGMA)), **bounds)


def test_images_too_small_to_continue():
    with pytest.raises(ValueError, match=r"padding_mode='reflect' must find 6 pixels .* got H=5"):
        DAUConv2d(4, 8, padding_mode="reflect")(X)
    assert DAUConv2d(4, 8, padding_mode="replicate")(X).shape == (2, 8, 5, 6)


def test_a_second_derivative_of_spectral_is_refused():
    layer = DAUConv2d(4, 8, algorithm="spectral")
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(
        NotImplementedError, match='algorithm must be "dense" or "reference" for the gradient of a gradient'
    ):
        grad.sum().backward()
