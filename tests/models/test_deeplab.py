"""DeepLab: the eight cells of Table 7, their sizes, and where their weights come from."""

import itertools

import pytest
import torch
from torch import nn

from torchdau import DAUConv2d
from torchdau.models import ASPP, FCNAlexNet, alexnet, dau_alexnet, dau_deeplab, dau_resnetv2, deeplab, resnetv2

CELLS = [(False, False, False), (False, True, False), (True, True, False), (True, True, True)]
SMALL = {"name": "resnetv2_18", "num_classes": 3, "width": 16}


@pytest.mark.parametrize("make", [deeplab, dau_deeplab])
@pytest.mark.parametrize("cell", CELLS)
def test_the_cells_of_table_7_at_full_size(make, cell):
    """A crop of training, and a whole image of Cityscapes; without memory, so sizes alone."""
    pyramid, image_pool, decoder = cell
    with torch.device("meta"):
        network = make(pyramid=pyramid, image_pool=image_pool, decoder=decoder)
    assert network(torch.randn(2, 3, 769, 769, device="meta")).shape == (2, 19, 769, 769)
    sizes = []
    network.encoder.register_forward_hook(
        lambda module, inputs, output: sizes.extend(part.shape[1:] for part in output)
    )
    assert network.eval()(torch.randn(1, 3, 1024, 2048, device="meta")).shape == (1, 19, 1024, 2048)
    assert sizes == [(256, 256, 512), (2048, 64, 128)]
    units = [m for m in network.modules() if isinstance(m, DAUConv2d)]
    assert len(units) == ((33 + pyramid + 2 * decoder) if make is dau_deeplab else 0)
    assert len([m for m in network.modules() if isinstance(m, ASPP)]) == (pyramid and make is deeplab)
    assert len([m for m in network.modules() if isinstance(m, nn.AdaptiveAvgPool2d)]) == image_pool
    surroundings = [m.weight.numel() * 3 for m in units if m.num_units == 6]
    assert surroundings == ([9_437_184] if pyramid and make is dau_deeplab else [])


@pytest.mark.parametrize("make", [alexnet, dau_alexnet])
def test_the_networks_of_table_5_at_full_size(make):
    with torch.device("meta"):
        network = FCNAlexNet(make())
    assert network(torch.randn(2, 3, 500, 333, device="meta")).shape == (2, 21, 500, 333)
    assert network.features(torch.randn(1, 3, 1024, 2048, device="meta")).shape == (1, 256, 128, 256)


@pytest.mark.parametrize("make", [deeplab, dau_deeplab])
@pytest.mark.parametrize("cell", list(itertools.product([False, True], repeat=3)))
def test_every_combination_learns(make, cell):
    torch.manual_seed(0)
    pyramid, image_pool, decoder = cell
    network = make(**SMALL, pyramid=pyramid, image_pool=image_pool, decoder=decoder)
    image = torch.randn(2, 3, 65, 50)
    assert network(image).abs().max() == 0  # the last layer starts at zero
    nn.init.normal_(network.classifier.weight)
    logits = network(image)
    assert logits.shape == (2, 3, 65, 50)
    nn.functional.cross_entropy(logits, torch.randint(3, (2, 65, 50))).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_image_pooling_is_the_mean_of_the_whole_image():
    network = deeplab(**SMALL, image_pool=True).eval()
    features = torch.randn(2, 512, 5, 7)
    pooled = network.branches[1](features)
    assert pooled.shape == (2, 16, 1, 1)
    torch.testing.assert_close(pooled, network.branches[1][1](features.mean((2, 3), keepdim=True)))
    with pytest.raises(ValueError, match=r"input must have more than one image in training, .* shape \(1, 3, 33, 33\)"):
        network.train()(torch.zeros(1, 3, 33, 33))


@pytest.mark.parametrize("make", [deeplab, dau_deeplab])
@pytest.mark.parametrize("decoder", [False, True])
def test_what_is_seen_does_not_depend_on_what_lies_far_away(make, decoder):
    """The left of an image is the same when its right is cut off: nothing is stretched to the size of the image."""
    torch.manual_seed(0)
    network = make(**SMALL, decoder=decoder, width_factor=0.25).eval()
    nn.init.normal_(network.classifier.weight)
    image = torch.randn(1, 3, 32, 32 * 25 + 3)
    torch.testing.assert_close(network(image)[..., :32], network(image[..., : 32 * 24 + 1])[..., :32])


def test_units_of_the_parts():
    network = dau_deeplab(**SMALL, pyramid=True, decoder=True, sigma=0.4, max_displacement=1.0)
    units = {name: m for name, m in network.named_modules() if isinstance(m, DAUConv2d)}
    assert {m.sigma for m in units.values()} == {0.4}
    assert {name: m.max_displacement for name, m in units.items() if "encoder" not in name} == {
        "branches.1.0": 24,
        "decoder.0.0": 1,
        "decoder.1.0": 1,
    }
    assert all(m.displacement.abs().max() <= m.max_displacement for m in units.values())


@pytest.mark.parametrize(("make", "classifier"), [(deeplab, resnetv2), (dau_deeplab, dau_resnetv2)])
def test_weights_of_a_classification_network(make, classifier):
    trained = classifier("resnetv2_18", num_classes=10)
    network = make(**SMALL)
    network.load_classifier(trained)
    found = network.encoder.state_dict()
    for name, tensor in trained.state_dict().items():
        if name.startswith("head."):
            continue
        last = name.startswith("stages.3.")
        name = name.replace("conv1.1.", "conv1.").replace("downsample.conv.1.", "downsample.conv.") if last else name
        assert torch.equal(found[name], tensor * (2 if last and name.endswith("displacement") else 1)), name
    network.load_classifier(trained)  # it was not used up
    with pytest.raises(RuntimeError, match=r"Missing key|size mismatch|is of an nn.Conv2d"):
        network.load_classifier((dau_resnetv2 if make is deeplab else resnetv2)("resnetv2_18"))


def test_alexnet_takes_weights_of_a_classification_network():
    small = {"widths": (4, 6, 8, 8, 6), "hidden": 16}
    trained = dau_alexnet(**small)
    network = FCNAlexNet(dau_alexnet(**small), 3)
    network.load_classifier(trained)
    expected = FCNAlexNet(trained, 3).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
