"""Classifiers of other libraries, plain or with units, with new weights or trained ones."""

from pathlib import Path

import pytest
import timm
import torch

from tests.training.data.layouts import make_folder
from torchdau import DAUConv2d
from torchdau.models import classifier, dau_classifier
from torchdau.training.restoring import restore_network

ROOT = Path(__file__).parents[2]
SHORT = ["--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false"]


def layers(network):
    return [module for module in network.modules() if isinstance(module, DAUConv2d)]


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/squeezenet1_1"])
@pytest.mark.parametrize("make", [classifier, dau_classifier])
def test_networks_of_libraries(name, make):
    network = make(name, num_classes=3).eval()
    assert network.num_classes == 3
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 3)
    assert bool(layers(network)) == (make is dau_classifier)


def test_pretrained_is_of_timm_alone():
    with pytest.raises(ValueError, match="pretrained must be false for networks of other libraries than timm"):
        classifier("torchvision/resnet18", num_classes=3, pretrained=True)


def test_pretrained_names_must_be_known():
    with pytest.raises(
        ValueError, match="name must be that of a model, got name='timm/resnet_18', which timm does not"
    ):
        classifier("timm/resnet_18", num_classes=3, pretrained=True)


def test_weights_that_cannot_be_loaded(monkeypatch):
    def refuse(*args, **options):
        raise OSError("no connection\nto the hub")

    monkeypatch.setattr("timm.create_model", refuse)
    with pytest.raises(ValueError, match=r"weights of timm/resnet18 cannot be loaded, got OSError: no connection Conn"):
        classifier("timm/resnet18", num_classes=3, pretrained=True)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """What timm would download."""
    network, make, asked = timm.create_model("test_resnet"), timm.create_model, []
    torch.save(network.state_dict(), tmp_path / "weights.pth")

    def create_model(name, pretrained=False, **arguments):
        overlay = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pth")}} if pretrained else {}
        asked.append(pretrained)
        return make(name, pretrained, **overlay, **arguments)

    monkeypatch.setattr(timm, "create_model", create_model)
    return network, asked


def test_units_start_from_trained_kernels(trained):
    images = torch.rand(2, 3, 32, 32)
    plain = classifier("timm/test_resnet", 3, pretrained=True)
    assert torch.equal(plain.layer1[0].conv1.weight, trained[0].layer1[0].conv1.weight)
    assert plain.get_classifier().out_features == plain.num_classes == 3
    network = dau_classifier("timm/test_resnet", 3, num_units=4, pretrained=True)
    assert {layer.num_units for layer in layers(network)} == {4}
    features, wanted = (each.eval().forward_features(images) for each in (network, plain))
    assert (features - wanted).norm() < 0.3 * wanted.norm()


def test_a_checkpoint_downloads_nothing(torchdau, trained, tmp_path):
    options = ["--data.init_args.root", make_folder(tmp_path / "images"), "--data.init_args.size", "32"]
    options += ["--data.init_args.num_workers", "0", *SHORT]
    network = "--model.init_args.network.init_args"
    options += [f"{network}.name", "timm/test_resnet", f"{network}.num_units", "4", f"{network}.pretrained", "true"]
    torchdau("fit", "--config", ROOT / "recipes/pictures_dau_resnet18.yaml", *options)
    (checkpoint,) = tmp_path.glob("runs/pictures/**/last.ckpt")
    assert trained[1] == [True]
    torchdau("test", checkpoint)
    torchdau("fit", checkpoint, "--trainer.max_steps", "2")
    assert {layer.num_units for layer in layers(restore_network(checkpoint))} == {4}
    assert trained[1] == [True, False, False, False]
