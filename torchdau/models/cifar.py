"""The CIFAR-10 network of the paper's Table 1, and its counterpart with 3 x 3 kernels."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from torchdau import init
from torchdau.conv import DAUConv2d
from torchdau.models.network import Network


class CIFARNet(Network):
    """Three blocks of convolution, batch norm, ReLU and 2 x 2 max-pool, then one linear layer.

    Args:
        conv_layer: function of input and output channels that makes a convolution, which must keep the image size.
        in_channels: channels of the images.
        num_classes: number of classes.
        image_size: height and width of the images in pixels, a multiple of 8.
        widths: channels of the three convolutions. Default: the paper's.

    Shape:
        - input: (N, in_channels, image_size, image_size)
        - output: (N, num_classes), logits

    Reference:
        Section 4.1 of the paper; layer sizes from the official implementation.
    """

    def __init__(
        self,
        conv_layer: Callable[[int, int], nn.Module],
        in_channels: int = 3,
        num_classes: int = 10,
        image_size: int = 32,
        widths: Sequence[int] = (96, 96, 192),
    ) -> None:
        super().__init__()
        if image_size < 8 or image_size % 8:
            raise ValueError(f"image_size must be a multiple of 8, got image_size={image_size}. Resize the images.")
        self.num_classes = num_classes
        self.image_size = image_size
        layers: list[nn.Module] = []
        for inputs, outputs in zip((in_channels, *widths), widths, strict=False):
            layers += [conv_layer(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1] * (image_size // 8) ** 2, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        if input.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"input must have images of {self.image_size} x {self.image_size} pixels (image_size), got input of "
                f"shape {tuple(input.shape)}. Resize the images."
            )
        return self.classifier(self.features(input).flatten(1))


def cifarnet(
    in_channels: int = 3,
    num_classes: int = 10,
    image_size: int = 32,
    widths: Sequence[int] = (96, 96, 192),
    kernel_size: int = 3,
) -> CIFARNet:
    """Build :class:`CIFARNet` with plain kernels of an odd size, the counterpart of :func:`dau_cifarnet`."""
    conv_layer = partial(nn.Conv2d, kernel_size=kernel_size, padding=kernel_size // 2, bias=False)
    return CIFARNet(conv_layer, in_channels, num_classes, image_size, widths)


def dau_cifarnet(
    num_units: int = 4,
    sigma: float = 0.5,
    learn_sigma: bool = False,
    max_displacement: float = 4.0,
    in_channels: int = 3,
    num_classes: int = 10,
    image_size: int = 32,
    widths: Sequence[int] = (96, 96, 192),
) -> CIFARNet:
    """Build :class:`CIFARNet` with units that start on a grid.

    Args:
        num_units: units per pair of channels. Default: 4, as in the paper.
        sigma: width of the Gaussians in pixels.
        learn_sigma: whether each unit learns its sigma, from a start uniform in [0.3, 0.8] as in the paper.
        max_displacement: bound of the displacements in pixels.
        in_channels: channels of the images.
        num_classes: number of classes.
        image_size: height and width of the images in pixels, a multiple of 8.
        widths: channels of the three convolutions.
    """
    conv_layer = partial(
        DAUConv2d,
        num_units=num_units,
        max_displacement=max_displacement,
        sigma=sigma,
        learn_sigma=learn_sigma,
        bias=False,
    )
    network = CIFARNet(conv_layer, in_channels, num_classes, image_size, widths)
    for module in network.modules():
        if isinstance(module, DAUConv2d):
            init.grid_(module.displacement, max_displacement)
            if isinstance(module.sigma, nn.Parameter):
                nn.init.uniform_(module.sigma, 0.3, 0.8)
    return network
