"""Units and parameters of the project's networks, counted from their instances, beside the paper's figures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from torchdau import models
from torchdau.conv import DAUConv2d


@dataclass(frozen=True)
class Count:
    """Numbers of units and parameters of a network.

    Attributes:
        network: name of the network.
        units: units in the counted layers; 0 for a network of plain kernels.
        spatial_parameters: parameters in the counted layers, without biases. Units have weights, displacements and
            learned sigmas; plain kernels have weights.
        total_parameters: all parameters of the network.
        paper: figures in the paper.
    """

    network: str
    units: int
    spatial_parameters: int
    total_parameters: int
    paper: str


def _kernels(module: nn.Module) -> bool:
    return isinstance(module, DAUConv2d | nn.Conv2d | nn.ConvTranspose2d)


def _units(module: nn.Module) -> bool:
    return isinstance(module, DAUConv2d)


def _small(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size not in ((1, 1), (6, 6))  # fully connected


def _three(module: nn.Module) -> bool:
    return isinstance(module, DAUConv2d) or (isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3))


POOL: dict[str, Any] = {"image_pool": True}
PYRAMID = POOL | {"pyramid": True}
DECODER = PYRAMID | {"decoder": True}

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], bool], str]] = {
    "CIFAR-10 network": (models.cifarnet, _kernels, ""),
    "CIFAR-10 network, 4 units": (models.dau_cifarnet, _kernels, "Table 1"),
    "AlexNet": (models.alexnet, _kernels, "Table 4: 3.7 M"),
    "DAU-AlexNet Large": (partial(models.dau_alexnet, "large"), _units, "Table 2: 1,523,712 units; 4.5 M"),
    "DAU-AlexNet Medium": (partial(models.dau_alexnet, "medium"), _units, "Table 2: 786,432 units; Table 4: 2.3 M"),
    "DAU-AlexNet Small": (partial(models.dau_alexnet, "small"), _units, "Table 2: 393,216 units; 1.2 M"),
    "ResNet-50 v2": (partial(models.resnetv2, "resnetv2_50"), _three, "Table 6: 11.3 M, total 25.5 M"),
    "DAU-ResNet-50 v2": (partial(models.dau_resnetv2, "resnetv2_50"), _three, "Table 6: 7.5 M, total 21.7 M"),
    "ResNet-101 v2": (partial(models.resnetv2, "resnetv2_101"), _three, "Table 6: 21.3 M, total 44.5 M"),
    "DAU-ResNet-101 v2": (partial(models.dau_resnetv2, "resnetv2_101"), _three, "Table 6: 14.2 M, total 37.4 M"),
    "AlexNet, segmentation": (lambda: models.FCNAlexNet(models.alexnet()), _small, "Table 5"),
    "DAU-AlexNet, segmentation": (lambda: models.FCNAlexNet(models.dau_alexnet()), _units, "Table 5"),
    "DeepLab 1": (models.deeplab, _three, "Table 7: ResNet-101"),
    "DeepLab 2": (partial(models.deeplab, **POOL), _three, "Table 7: + image pooling"),
    "DeepLab 3": (partial(models.deeplab, **PYRAMID), _three, "Table 7: + ASPP"),
    "DeepLab 4": (partial(models.deeplab, **DECODER), _three, "Table 7: + decoder"),
    "DAU-DeepLab 1": (models.dau_deeplab, _three, "Table 7: DAU-ResNet-101"),
    "DAU-DeepLab 2": (partial(models.dau_deeplab, **POOL), _three, "Table 7: + image pooling"),
    "DAU-DeepLab 3": (partial(models.dau_deeplab, **PYRAMID), _three, "Table 7: + DAU-6U"),
    "DAU-DeepLab 4": (partial(models.dau_deeplab, **DECODER), _three, "Table 7: + DAU decoder"),
    "ASPP": (models.aspp, _kernels, "section 6.3: 3 x 9 per pair"),
    "DAU-6U": (models.dau_6u, _kernels, "section 6.3: 18 per pair"),
    "SRN-DeblurNet": (models.srn_deblurnet, _kernels, "Table 8: 6.878 M, 6.878 M units"),
    "DAU-SRN-DeblurNet": (models.dau_srn_deblurnet, _kernels, "Table 8: 1.781 M, 0.708 M units"),
}
"""By name: a function that makes the network, a test for the layers that the paper counts, and the paper's figures."""


def counts() -> list[Count]:
    """Count every network of :data:`NETWORKS`; they are made without memory, so it takes no time.

    Reference:
        Tables 2 to 4, 6 and 8 of the paper.
    """
    rows = []
    for name, (make, counted, paper) in NETWORKS.items():
        with torch.device("meta"):
            network = make()
        layers = [module for module in network.modules() if counted(module)]
        spatial = sum(
            p.numel() for layer in layers for key, p in layer.named_parameters(recurse=False) if key != "bias"
        )
        units = sum(layer.weight.numel() for layer in layers if isinstance(layer, DAUConv2d))
        rows.append(Count(name, units, spatial, sum(p.numel() for p in network.parameters()), paper))
    return rows
