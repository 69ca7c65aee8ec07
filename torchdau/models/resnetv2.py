"""The paper's residual networks: timm's ResNet v2, plain or converted to units."""

from torch import nn

from torchdau.models.library import library_model
from torchdau.surgery import convert_, pool_strides_


def resnetv2(name: str = "resnetv2_50", num_classes: int = 1000, pool: bool = True) -> nn.Module:
    """A ResNet v2 of timm, with max-pools for its strides as in the paper.

    Args:
        name: that of timm: ``"resnetv2_50"`` or ``"resnetv2_101"`` in the paper.
        num_classes: number of classes.
        pool: whether max-pools take the strides of all levels but the first, as in both networks of the paper; else
            convolutions keep their own.

    Reference:
        He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, ECCV 2016; section 5.2 of the paper.

    Example:
        >>> network = resnetv2()
        >>> sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
        11317248
    """
    network = library_model(f"timm/{name}", num_classes=num_classes)
    return pool_strides_(network, lambda name, conv: name.startswith("stages.")) if pool else network


def dau_resnetv2(
    name: str = "resnetv2_50",
    num_units: int = 2,
    sigma: float = 0.5,
    max_displacement: float = 4.0,
    num_classes: int = 1000,
    pool: bool = True,
) -> nn.Module:
    """The unit network: every 3 x 3 convolution becomes units, uniform in [-1.5, 1.5] at first.

    Args:
        name: that of timm.
        num_units: units per pair of channels.
        sigma: width of the Gaussians in pixels.
        max_displacement: bound of the displacements in pixels.
        num_classes: number of classes.
        pool: as in :func:`resnetv2`; without it, unit layers have strides of their own.

    Example:
        >>> sum(p.numel() for p in dau_resnetv2().parameters())
        21776936
    """
    return convert_(
        resnetv2(name, num_classes, pool),
        num_units,
        select=lambda name, conv: conv.kernel_size == (3, 3),
        sigma=sigma,
        max_displacement=max_displacement,
    )
