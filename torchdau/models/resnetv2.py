"""The paper's residual networks: timm's ResNet v2, plain or converted to units, and small ones for CIFAR-10."""

from typing import Any

from torch import nn

from torchdau.models.library import library_model
from torchdau.surgery import convert_, pool_strides_

CIFAR_CHANNELS = (16, 32, 64)


def resnetv2(
    name: str = "resnetv2_50", num_classes: int = 1000, pool: bool = True, width_factor: float = 1.0
) -> nn.Module:
    """Build a ResNet v2 of timm, with max-pools for its strides as in the paper.

    Args:
        name: name in timm: ``"resnetv2_50"`` or ``"resnetv2_101"`` in the paper.
        num_classes: number of classes.
        pool: whether max-pools take the strides of all levels but the first, as in both networks of the paper.
            Otherwise convolutions keep their strides.
        width_factor: factor for the channels of all layers.

    Reference:
        He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, ECCV 2016; section 5.2 of the paper.

    Example:
        >>> network = resnetv2()
        >>> sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
        11317248
    """
    network = library_model(f"timm/{name}", num_classes=num_classes, width_factor=width_factor)
    return _pooled(network) if pool else network


def dau_resnetv2(
    name: str = "resnetv2_50",
    num_units: int = 2,
    sigma: float = 0.5,
    max_displacement: float = 4.0,
    num_classes: int = 1000,
    pool: bool = True,
    width_factor: float = 1.0,
) -> nn.Module:
    """Build the unit network: every 3 x 3 convolution becomes units, uniform in [-1.5, 1.5] at first.

    Args:
        name: name in timm.
        num_units: units per pair of channels.
        sigma: width of the Gaussians in pixels.
        max_displacement: bound of the displacements in pixels.
        num_classes: number of classes.
        pool: as in :func:`resnetv2`; without it, unit layers have strides of their own.
        width_factor: as in :func:`resnetv2`.

    Example:
        >>> sum(p.numel() for p in dau_resnetv2().parameters())
        21776936
    """
    return _with_units(resnetv2(name, num_classes, pool, width_factor), num_units, sigma, max_displacement)


def cifar_resnetv2(depth: int = 20, num_classes: int = 10) -> nn.Module:
    """Build a ResNet v2 for images of 32 x 32 pixels: a 3 x 3 kernel, then stages of 16, 32 and 64 channels.

    Max-pools reduce the resolution, as in :func:`resnetv2`.

    Args:
        depth: number of layers, 6 n + 2 for n blocks of two layers in each stage.
        num_classes: number of classes.

    Raises:
        ValueError: there is no such depth.

    Reference:
        He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, ECCV 2016, with the stages of their section on
        CIFAR-10.

    Example:
        >>> len([m for m in cifar_resnetv2(20).modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)])
        19
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth must be 6 n + 2 for a number n of blocks, got depth={depth}. Take 14, 20, 32 or 56.")
    stages: dict[str, Any] = {
        "layers": ((depth - 2) // 6,) * 3,
        "channels": CIFAR_CHANNELS,
        "stem_chs": CIFAR_CHANNELS[0],
    }
    network = library_model("timm/resnetv2_18", num_classes=num_classes, **stages)
    network.stem = nn.Conv2d(3, CIFAR_CHANNELS[0], 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.stem.weight, mode="fan_out", nonlinearity="relu")
    return _pooled(network)


def dau_cifar_resnetv2(
    depth: int = 20, num_units: int = 2, sigma: float = 0.5, max_displacement: float = 4.0, num_classes: int = 10
) -> nn.Module:
    """Build the unit network of :func:`cifar_resnetv2`: every 3 x 3 convolution becomes units.

    Args:
        depth: number of layers, 6 n + 2.
        num_units: units per pair of channels.
        sigma: width of the Gaussians in pixels.
        max_displacement: bound of the displacements in pixels.
        num_classes: number of classes.
    """
    return _with_units(cifar_resnetv2(depth, num_classes), num_units, sigma, max_displacement)


def _pooled(network: nn.Module) -> nn.Module:
    return pool_strides_(network, lambda name, conv: name.startswith("stages."))


def _with_units(network: nn.Module, num_units: int, sigma: float, max_displacement: float) -> nn.Module:
    return convert_(
        network,
        num_units,
        select=lambda name, conv: conv.kernel_size == (3, 3),
        sigma=sigma,
        max_displacement=max_displacement,
    )
