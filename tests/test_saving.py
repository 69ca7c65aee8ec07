"""Files of converted and pruned models: what is loaded computes what was saved; what does not fit changes nothing."""

import copy
import json
import os
import sys

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from torchdau import DAUConv2d, convert_, load_model, prune_units_, rescale_, save_model
from torchdau.hub import DAUModelHubMixin
from torchdau.models import library_model
from torchdau.surgery.prune import PrunedDAUConv2d


def plain():
    """Geometries whose conversion leaves nothing of the old arguments, a shared layer, and other layers between."""
    shared = nn.Conv2d(8, 8, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        shared,
        nn.Sequential(nn.Conv2d(8, 8, (3, 1), padding="same", padding_mode="replicate"), shared),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4, bias=False),
    )


class HubNet(nn.Module, DAUModelHubMixin):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ran",)


CHANGES = {
    "converted": convert_,
    "learned sigma": lambda model: convert_(model, 3, learn_sigma=True, max_sigma=1.5, interpolation="gaussian"),
    "twice, in part": lambda model: convert_(convert_(model, 1, select="0"), 4, select="5", sigma=0.35),
    "max-pool": lambda model: convert_(model, strides="max_pool", select=["3", "4.1", "5"]),
    "rescaled": lambda model: rescale_(convert_(model), 2),
    "pruned": lambda model: prune_units_(convert_(model, 4, learn_sigma=True), 0.4),
    "bfloat16": lambda model: convert_(model).bfloat16(),
}


def changed(change, model=None):
    torch.manual_seed(0)
    model = CHANGES[change](plain() if model is None else model)
    for parameter in model.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    model(torch.randn(2, 3, 24, 24, dtype=model[1].weight.dtype))  # statistics of the norm
    return model.eval()


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_loaded_computes_what_was_saved(change, tmp_path):
    model = changed(change)
    save_model(model, tmp_path / "model.safetensors")
    again = plain().eval()
    assert load_model(tmp_path / "model.safetensors", again) is again
    image = torch.randn(1, 3, 24, 24, dtype=model[1].weight.dtype)
    torch.testing.assert_close(again(image), model(image), rtol=0, atol=0)
    assert str(again) == str(model)
    assert {n: p.dtype for n, p in again.named_parameters()} == {n: p.dtype for n, p in model.named_parameters()}
    assert again[3] is again[4][1]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/lraspp_mobilenet_v3_large", "torchdau/cifarnet"])
def test_architectures_by_name(name, tmp_path):
    torch.manual_seed(0)
    model = prune_units_(convert_(library_model(name, num_classes=3)), 0.3).eval()
    file = tmp_path / "model.safetensors"
    save_model(model, file, name, num_classes=3)
    again = load_model(file).eval()
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert str(again) == str(model)


def test_tied_weights(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(4, 4), nn.Linear(4, 4))
    model[3].weight = model[2].weight
    save_model(convert_(model), tmp_path / "model.safetensors")
    again = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(4, 4), nn.Linear(4, 4))
    again[3].weight = again[2].weight
    load_model(tmp_path / "model.safetensors", again)
    torch.testing.assert_close(again[3].weight, model[2].weight, rtol=0, atol=0)
    assert again[3].weight is again[2].weight


def test_models_that_ask_for_kernel_sizes_keep_them(tmp_path):
    model = prune_units_(convert_(nn.Sequential(nn.Conv2d(3, 8, 5, padding=4, dilation=2))), 0.1)
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors", nn.Sequential(nn.Conv2d(3, 8, 5, padding=4, dilation=2)))
    assert isinstance(again[0], PrunedDAUConv2d)
    assert (again[0].kernel_size, again[0].dilation) == ((5, 5), (2, 2))


def test_a_model_that_does_not_fit_is_left_as_it_was(tmp_path):
    file = tmp_path / "model.safetensors"
    save_model(changed("pruned"), file)
    other = plain()
    other[1] = nn.BatchNorm2d(8, affine=False)
    before, state = list(other), copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=r"model must have the tensors of file='.*', got 2 that differ: '1.bias'"):
        load_model(file, other)
    assert list(other) == before
    torch.testing.assert_close(other.state_dict(), state, rtol=0, atol=0)
    with pytest.raises(ValueError, match="model must have a layer '3' to become units, got Sequential without"):
        load_model(file, plain()[:2])
    with safe_open(file, "pt") as opened:
        save_file(load_file(file) | {"5.weight": torch.zeros(3)}, file, opened.metadata())
    with pytest.raises(ValueError, match=r"file must be undamaged, got file=.* RuntimeError.*size mismatch"):
        load_model(file, plain())


def test_files_that_do_not_load(tmp_path):
    file = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match=r"file must be a safetensors file, got file='.*model.safetensors', wh"):
        load_model(file)
    file.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"file must be a whole safetensors file, got file='.*model.safetensors': "):
        load_model(file)
    save_file({"weight": torch.ones(3)}, file)
    with pytest.raises(ValueError, match=r"file must be written by torchdau.save_model, got file="):
        load_model(file)
    save_model(changed("converted"), file)
    with pytest.raises(ValueError, match=r"model must be given for a file without architecture, got none for file="):
        load_model(file)
    for header, message in (
        ({"format": 2, "units": []}, r"file must be of format 1 or older, got file=.* of format 2. Install a newer"),
        ({"units": []}, "file must be undamaged, got file=.* KeyError"),
        ({"format": 1, "units": 3}, "file must be undamaged, got file=.* TypeError"),
        ({"format": 1, "architecture": None, "units": [{"names": ["0"], "arguments": {}}]}, "file must be undamaged"),
        ({"format": 1, "architecture": 3, "units": []}, "file must be undamaged, got file=.* TypeError"),
    ):
        save_file({"weight": torch.ones(3)}, file, {"torchdau": json.dumps(header)})
        with pytest.raises(ValueError, match=message):
            load_model(file, plain())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("os.system", {"command": "touch ran"}),
        ("builtins/eval", {"source": "open('ran', 'w')"}),
        ("torchdau/library_model", {"name": "timm/resnet18"}),
        ("timm/resnet18", {"act_layer": "os.system"}),
        ("timm/resnet18", {"checkpoint_path": "evil.pth"}),
        ("timm/resnet18", {"pretrained_cfg": {"file": "evil.pth"}}),
        ("torchvision/resnet18", {"norm_layer": "os.system"}),
        ("torchdau/dau_cifarnet", {"name": "os.system"}),
    ],
)
def test_no_code_of_strangers_runs(name, arguments, tmp_path, monkeypatch):
    """Also through the Hub, which reads the same files."""
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), "evil.pth")
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("it ran"))
    header = {"format": 1, "architecture": {"name": name, "arguments": arguments}, "units": []}
    save_file({"weight": torch.ones(3)}, "model.safetensors", {"torchdau": json.dumps(header)})
    with pytest.raises(ValueError, match=r"file must name an architecture that can be made, got '.*' in file=.*"):
        load_model("model.safetensors")
    with pytest.raises(ValueError, match="model must have the tensors of file="):
        HubNet.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_saved_leaves_the_file_that_was_there(tmp_path):
    file = tmp_path / "model.safetensors"
    model = convert_(timm.create_model("test_resnet"))
    save_model(model, file, "timm/test_resnet")
    before = file.read_bytes()
    with pytest.raises(
        ValueError,
        match=r"architecture must be .*, got 2 that differ: 'fc.bias' .* save_model\(model, .* num_classes=10",
    ):
        save_model(model, file, "timm/test_resnet", num_classes=5)
    with pytest.raises(
        ValueError, match=r"got 'timm/resnet18': model must have a layer 'conv1.0' to become units, got ResNet without"
    ):
        save_model(model, file, "timm/resnet18")
    with pytest.raises(TypeError, match="arguments of the architecture must be numbers, strings and lists: Object of"):
        save_model(model, file, "timm/test_resnet", norm_layer=nn.BatchNorm2d)
    with pytest.raises(ValueError, match="arguments must belong to an architecture, got 'num_classes' without one"):
        save_model(model, file, num_classes=5)
    with pytest.raises(ValueError, match="model must have unit layers, got Conv2d with none"):
        save_model(nn.Conv2d(3, 3, 3), file)
    with pytest.raises(ValueError, match=r"got a bare DAUConv2d. Wrap it in nn.Sequential"):
        save_model(DAUConv2d(3, 3), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_others_may_read_the_file_as_any_other(tmp_path):
    save_model(changed("converted"), tmp_path / "model.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


class Other(DAUConv2d):
    pass


def test_models_that_could_not_be_loaded_are_not_saved(tmp_path):
    file = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="model must have layers of this package, got a Other in '0'"):
        save_model(nn.Sequential(Other(3, 3)), file)
    model = changed("converted")
    with torch.no_grad():
        model[3].displacement[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"model must have finite units, got NaN or infinity in 3.displacement"):
        save_model(model, file)
    with pytest.raises(FileNotFoundError, match=r"file must be in a folder that exists, got file='.*nowhere.model'"):
        save_model(changed("converted"), tmp_path / "nowhere/model")
    assert not file.exists()


def test_models_that_cannot_be_filled(tmp_path):
    file = tmp_path / "model.safetensors"
    save_model(changed("converted"), file)
    with torch.device("meta"):
        nowhere = plain()
    with pytest.raises(ValueError, match="model must have its weights in memory, got some on the meta device"):
        load_model(file, nowhere)
    hooked = plain()
    hooked[3].register_forward_hook(lambda *args: None)
    with pytest.raises(ValueError, match="model must have no hooks where layers are replaced, got some in '3'"):
        load_model(file, hooked)
    assert type(hooked[0]) is nn.Conv2d


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"safetensors must be installed. Install it with: pip install safetensors"):
        save_model(changed("converted"), tmp_path / "model")


def test_names_that_the_header_has_too(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model.pt = nn.Parameter(torch.ones(3))
    save_model(convert_(model), tmp_path / "model")
    again = nn.Sequential(nn.Conv2d(3, 4, 3))
    again.pt = nn.Parameter(torch.zeros(3))
    assert load_model(tmp_path / "model", again).pt.tolist() == [1, 1, 1]


class Net(nn.Module, DAUModelHubMixin):
    def __init__(self, width, classes=2):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.head = nn.Linear(width, classes)

    def forward(self, image):
        return self.head(self.conv(image).mean((2, 3)))


@pytest.mark.parametrize("threshold", [0, 0.5])
def test_hub_mixin_works_on_a_folder(threshold, tmp_path):
    net = Net(width=16, classes=5)
    prune_units_(convert_(net), threshold)
    net.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {"width": 16, "classes": 5}
    again = Net.from_pretrained(tmp_path)
    image = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(again(image), net(image), rtol=0, atol=0)
    assert isinstance(again.conv, DAUConv2d)
    assert not again.training


@pytest.mark.parametrize("name", ["resnet18", "keras/resnet18", "timm/", 3])
def test_names_without_a_library(name):
    with pytest.raises(ValueError, match=f"name must be LIBRARY/MODEL with one of timm, .*, got name={name!r}"):
        library_model(name)


@pytest.mark.parametrize("name", ["timm/resnet_18", "torchvision/nn", "torchdau/CIFARNet", "torchdau/library_model"])
def test_names_that_a_library_does_not_know(name):
    with pytest.raises(ValueError, match=f"got name={name!r}, which {name.partition('/')[0]} does not know"):
        library_model(name)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("timm/resnet18", "pretrained"), ("torchvision/resnet18", "weights"), ("timm/resnet18", "checkpoint_path")],
)
def test_weights_are_not_asked_for(name, argument):
    with pytest.raises(TypeError, match=f"arguments must not ask for weights, got '{argument}' for {name}"):
        library_model(name, **{argument: "somewhere"})


@pytest.mark.parametrize(("wrap", "inner"), [(torch.compile, "_orig_mod"), (nn.DataParallel, "module")])
def test_wrapped_models_are_refused(wrap, inner, tmp_path):
    with pytest.raises(ValueError, match=rf"must not be wrapped, got a \w+. Pass model.{inner}"):
        save_model(wrap(convert_(plain())), tmp_path / "model.safetensors")
    assert not [*tmp_path.iterdir()]
