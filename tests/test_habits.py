"""Habits of other layers and libraries: what is answered, and with which advice."""

import re

import pytest
import torch
from torch import nn

import torchdau
from torchdau import DAUConv2d


@pytest.mark.parametrize(
    ("args", "options", "said"),
    [
        (
            (3, 8, 3),
            {"padding": 1},
            "got 3 as the third. A unit layer has no kernel size: .* num_units=2",
        ),
        ((3, 8), {"kernel_size": 3}, "got kernel_size=3. A unit layer has no kernel: num_units .* max_displacement"),
        ((3, 8), {"dilation": 2}, "got dilation=2. Units learn their distances: max_displacement"),
        ((3, 8), {"units": 2}, "got units=2. The number of units is num_units"),
        ((3, 8), {"dau_units": 2}, "got dau_units=2. The number of units is num_units"),
        (
            (3, 8),
            {"transposed": True},
            "got transposed=True. There is no transposed unit layer: enlarge the image first",
        ),
        ((3, 8), {"max_kernel_size": 9}, "got max_kernel_size=9. How far away units may be is max_displacement"),
        ((3, 8), {"num_unit": 2}, r"got num_unit=2. Did you mean num_units\?"),
        ((3, 8), {"xyz": 2}, "got xyz=2. There are in_channels, out_channels, num_units, .* dtype"),
    ],
    ids=str,
)
def test_arguments_of_other_layers(args, options, said):
    with pytest.raises(TypeError, match=said):
        DAUConv2d(*args, **options)


def test_padding_same_is_no_padding():
    layer = DAUConv2d(3, 8, padding="same")
    assert layer(torch.randn(1, 3, 9, 7)).shape == (1, 8, 9, 7)
    assert str(layer) == str(DAUConv2d(3, 8))
    with pytest.raises(ValueError, match=r"padding must be numbers of pixels .*, got 'same' .*\(2, 2\)"):
        DAUConv2d(3, 8, padding="same", stride=2)
    with pytest.raises(ValueError, match=r"padding must be numbers of pixels or 'same', got 'valid'. Pass .* -1"):
        DAUConv2d(3, 8, padding="valid")


@pytest.mark.parametrize(
    "call",
    [
        torchdau.convert_,
        torchdau.convolutions,
        torchdau.fold_,
        lambda model: torchdau.prune_units_(model, 0.1),
        lambda model: torchdau.rescale_(model, 2),
        lambda model: torchdau.parameter_groups(model, lr=0.1),
        lambda model: torchdau.optimizer(model, torch.optim.SGD, lr=0.1),
        lambda model: torchdau.save_model(model, "x.safetensors"),
    ],
)
def test_what_is_no_model(call):
    with pytest.raises(TypeError, match=re.escape("model must be a torch.nn.Module, got 'resnet18'. Pass the model")):
        call("resnet18")
    with pytest.raises(TypeError, match=re.escape("model must be a torch.nn.Module, got a generator.")):
        call(nn.Linear(2, 2).parameters())


def test_parameters_for_a_model_and_no_rate():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got a generator"):
        torchdau.parameter_groups(nn.Linear(2, 2).parameters())
    with pytest.raises(TypeError, match="lr must be a number, got lr=None"):
        torchdau.parameter_groups(nn.Linear(2, 2))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:.*quantize")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: x.to_sparse(), "input must be a dense tensor, got a sparse_coo one. Convert it"),
        (lambda x: x.to_mkldnn(), "input must be a dense tensor, got a _mkldnn one. Convert it"),
        (lambda x: torch.nested.nested_tensor([*x]), "input must be a dense tensor, got a nested one. Convert it"),
        (
            lambda x: torch.nested.nested_tensor([*x], layout=torch.jagged),
            "input must be a dense tensor, got a nested one. Convert it",
        ),
        (
            lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
            "input must be of a real floating-point type, got input of torch.quint8",
        ),
        (lambda x: x + 0j, "input must be of a real floating-point type, got input of torch.complex64"),
        (lambda x: x.int(), "input must be of a real floating-point type, got input of torch.int32"),
    ],
)
def test_tensors_of_other_kinds(make, said):
    with pytest.raises(TypeError, match=said):
        DAUConv2d(4, 8)(make(torch.randn(2, 4, 8, 8)))


def test_weights_of_a_convolution_and_a_layer_for_its_displacements():
    with pytest.raises(RuntimeError, match=r"\bweight is of an nn.Conv2d. Load it into the plain model, and then call"):
        DAUConv2d(3, 8).load_state_dict(nn.Conv2d(3, 8, 3).state_dict())
    for place in (torchdau.init.uniform_, torchdau.init.normal_, torchdau.init.grid_):
        with pytest.raises(TypeError, match=r"must be a tensor, got a DAUConv2d. Of a layer, pass layer.displacement."):
            place(DAUConv2d(3, 8))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:FutureWarning")
def test_traced_without_gradients():
    layer, image = DAUConv2d(3, 8).eval(), torch.randn(1, 3, 9, 7)
    with torch.no_grad():
        assert torch.equal(torch.jit.trace(layer, image)(image), layer(image))


def test_layers_that_are_used_twice_stay_one(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.again = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            return self.again(self.first(x))

    model = torchdau.convert_(Twice())
    assert model.first is model.again
    torchdau.prune_units_(model, 0.5)
    assert model.first is model.again
    torchdau.save_model(model, tmp_path / "model.safetensors")
    loaded = torchdau.load_model(tmp_path / "model.safetensors", Twice())
    assert loaded.first is loaded.again
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(loaded(x), model(x))


def test_converting():
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    with pytest.raises(TypeError, match=r"got learn_sigmas. Did you mean learn_sigma\?"):
        torchdau.convert_(model, learn_sigmas=True)
    with pytest.raises(TypeError, match=r"got xyz. There are learn_sigma, max_sigma"):
        torchdau.convert_(model, xyz=True)
    torchdau.convert_(model)
    with pytest.raises(ValueError, match=r"got none. 1 layers already are units"):
        torchdau.convert_(model)
    with pytest.raises(ValueError, match=r"got '9'. The model has no convolution"):
        torchdau.convert_(model, select="9")
