"""AlexNet in a single pipeline, plain or with units as its second to fifth convolution, and a small version."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from torchdau import init
from torchdau.arguments import check_option
from torchdau.conv import DAUConv2d
from torchdau.models.network import Network

SIZES = {"large": (6, 4), "medium": (4, 2), "small": (2, 1)}
"""Units per pair of channels in the second convolution, and in the third to fifth (Table 3)."""

CIFAR: dict[str, Any] = {"widths": (48, 96, 128, 128, 96), "stem": (5, 1), "hidden": 256, "pooled": 2}
"""Arguments of the network for images of 32 x 32 pixels."""


class AlexNet(Network):
    """Five convolutions, the first two followed by local response norms, then three fully connected layers.

    It is the Caffe reference network without groups and with Glorot's initialisation, as in the paper.

    Args:
        conv_layer: function of number (2 to 5), input channels and output channels that makes the second to fifth
            convolution. They must keep the image size.
        num_classes: number of classes.
        in_channels: channels of the images.
        widths: channels of the convolutions. Default: the paper's.
        stem: side and stride of the first kernel in pixels. Default: the paper's, for images of 227 pixels.
        hidden: width of the first two fully connected layers.
        pooled: side of the last features in pixels. Features of another size are averaged to this side, so images of
            any size work. Default: 6, the side for the paper's images, where nothing is averaged.

    Shape:
        - input: (N, in_channels, H, W)
        - output: (N, num_classes), logits

    Reference:
        Krizhevsky, Sutskever, Hinton, ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012;
        section 4.2 of the paper.
    """

    def __init__(
        self,
        conv_layer: Callable[[int, int, int], nn.Module],
        num_classes: int = 1000,
        in_channels: int = 3,
        widths: Sequence[int] = (96, 256, 384, 384, 256),
        stem: tuple[int, int] = (11, 4),
        hidden: int = 4096,
        pooled: int = 6,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], *stem), nn.ReLU(), nn.MaxPool2d(3, 2), _norm()]
        for number, (inputs, outputs) in enumerate(pairwise(widths), start=2):
            layers += [conv_layer(number, inputs, outputs), nn.ReLU()]
            if number in (2, 5):
                layers.append(nn.MaxPool2d(3, 2))
            if number == 2:
                layers.append(_norm())
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        return self.classifier(self.pool(self.features(input)))


def alexnet(num_classes: int = 1000, **options: Any) -> AlexNet:
    """Build the plain network: one convolution with a 5 x 5 kernel, then three with 3 x 3 kernels.

    Args:
        num_classes: number of classes.
        **options: further arguments of :class:`AlexNet`.

    Example:
        >>> sum(m.weight.numel() for m in alexnet().features if isinstance(m, nn.Conv2d))
        3745824
    """
    return AlexNet(_convolution, num_classes, **options)


def dau_alexnet(
    size: str = "medium",
    sigma: float = 0.5,
    max_displacement: float = 4.0,
    num_classes: int = 1000,
    **options: Any,
) -> AlexNet:
    """Build the unit network, whose units start on a grid.

    Args:
        size: ``"large"``, ``"medium"`` or ``"small"`` (Table 3). The second convolution has 6, 4 or 2 units per pair of
            channels, the third to fifth 4, 2 or 1.
        sigma: width of the Gaussians in pixels.
        max_displacement: bound of the displacements in pixels.
        num_classes: number of classes.
        **options: further arguments of :class:`AlexNet`.

    Raises:
        ValueError: the size is not one of these.

    Example:
        >>> sum(m.weight.numel() for m in dau_alexnet("small").modules() if isinstance(m, DAUConv2d))
        393216
    """
    check_option("size", size, tuple(SIZES))

    def conv_layer(number: int, inputs: int, outputs: int) -> DAUConv2d:
        return _units(inputs, outputs, SIZES[size][number > 2], sigma, max_displacement)

    return AlexNet(conv_layer, num_classes, **options)


def cifar_alexnet(num_classes: int = 10) -> AlexNet:
    """Build the plain network for images of 32 x 32 pixels, with fewer channels and a smaller first kernel."""
    return alexnet(num_classes, **CIFAR)


def dau_cifar_alexnet(
    num_units: int = 2, sigma: float = 0.5, max_displacement: float = 2.0, num_classes: int = 10
) -> AlexNet:
    """Build the unit network for images of 32 x 32 pixels, like :func:`cifar_alexnet`.

    Args:
        num_units: units per pair of channels in the second to fifth convolution.
        sigma: width of the Gaussians in pixels.
        max_displacement: bound of the displacements in pixels. Default: 2, half the paper's bound, because features
            have half the size, 13 and 6 pixels.
        num_classes: number of classes.
    """

    def conv_layer(number: int, inputs: int, outputs: int) -> DAUConv2d:
        return _units(inputs, outputs, num_units, sigma, max_displacement)

    return AlexNet(conv_layer, num_classes, **CIFAR)


def _convolution(number: int, inputs: int, outputs: int) -> nn.Conv2d:
    side = 5 if number == 2 else 3
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


def _units(inputs: int, outputs: int, num_units: int, sigma: float, max_displacement: float) -> DAUConv2d:
    layer = DAUConv2d(inputs, outputs, num_units=num_units, max_displacement=max_displacement, sigma=sigma)
    init.grid_(layer.displacement, max_displacement)
    return layer


def _norm() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
