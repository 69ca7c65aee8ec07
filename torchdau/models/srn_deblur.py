"""SRN-DeblurNet, the scale-recurrent network for blind deblurring, plain or with units."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchdau import init
from torchdau.conv import DAUConv2d
from torchdau.models.network import Network

SCALES = (0.25, 0.5, 1.0)
"""Scales of the image, in the order of their use."""

MULTIPLE = 16
"""Divisor of an image's sides in pixels: the network halves the quarter-size image twice."""


class SRNDeblurNet(Network):
    """An encoder and decoder of residual blocks, applied to a blurred image at three scales with the same weights.

    Every scale sees the blurred image and the result of the scale before; no gradient flows between scales. This is the
    published colour version without LSTM.

    Args:
        conv_layer: function of input channels, output channels and stride that makes the convolutions between the first
            and the last. Their output must have ``ceil(size / stride)`` pixels.
        widths: channels at the three resolutions. Default: the published ones.
        residual: whether the network computes what to add to the blurred image. It then starts with the blurred image.
            Default: it computes the sharp image, as published.

    Shape:
        - input: (N, 3, H, W), blurred images in [0, 1], both sides a multiple of 16 pixels
        - output: three sharp images (N, 3, H / 4, W / 4), (N, 3, H / 2, W / 2) and (N, 3, H, W)

    Reference:
        Tao, Gao, Shen, Wang, Jia, Scale-recurrent Network for Deep Image Deblurring, CVPR 2018; section 7 of the paper.
    """

    def __init__(
        self,
        conv_layer: Callable[[int, int, int], nn.Module],
        widths: tuple[int, int, int] = (32, 64, 128),
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        small, middle, large = widths

        def blocks(channels: int) -> list[nn.Module]:
            return [ResidualBlock(conv_layer, channels) for _ in range(3)]

        def halve(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(conv_layer(inputs, outputs, 2), nn.ReLU(), *blocks(outputs))

        def double(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, padding=1), nn.ReLU())

        self.encoder = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(6, small, 5, padding=2), nn.ReLU(), *blocks(small)),
                halve(small, middle),
                halve(middle, large),
            ]
        )
        self.decoder = nn.ModuleList(
            [
                nn.Sequential(*blocks(large), double(large, middle)),
                nn.Sequential(*blocks(middle), double(middle, small)),
                nn.Sequential(*blocks(small), nn.Conv2d(small, 3, 5, padding=2)),
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if residual:
            nn.init.zeros_(self.decoder[2][3].weight)  # type: ignore[index]

    def forward(self, blurred: Tensor) -> list[Tensor]:
        """Return the sharp images of every scale; the last one is the result."""
        if any(side % MULTIPLE for side in blurred.shape[-2:]):
            raise ValueError(
                f"blurred must have sides that are multiples of {MULTIPLE} pixels, got blurred of shape "
                f"{tuple(blurred.shape)}. Pad the images."
            )
        sharp: list[Tensor] = []
        for scale in SCALES:
            image = _resized(blurred, scale)
            before = _resized(sharp[-1].detach(), 2) if sharp else image
            result = self._at_one_scale(torch.cat([image, before], 1))
            sharp.append(image + result if self.residual else result)
        return sharp

    def _at_one_scale(self, features: Tensor) -> Tensor:
        kept = []
        for part in self.encoder:
            features = part(features)
            kept.append(features)
        for part, skipped in zip(self.decoder, (kept[1], kept[0], None), strict=True):
            features = part(features)
            if skipped is not None:
                features = features + skipped
        return features


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between them, and the identity."""

    def __init__(self, conv_layer: Callable[[int, int, int], nn.Module], channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            conv_layer(channels, channels, 1), nn.ReLU(), conv_layer(channels, channels, 1)
        )

    def forward(self, input: Tensor) -> Tensor:
        """Add the output of the convolutions to the input."""
        return input + self.convolutions(input)


def srn_deblurnet(widths: tuple[int, int, int] = (32, 64, 128), residual: bool = False) -> SRNDeblurNet:
    """Build the plain network, with kernels of 5 x 5.

    Args:
        widths: channels at the three resolutions.
        residual: whether the network computes what to add to the blurred image; see :class:`SRNDeblurNet`.

    Example:
        >>> sum(p.numel() for p in srn_deblurnet().parameters() if p.ndim > 1)
        6878240
    """

    def conv_layer(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 5, stride, padding=2)

    return SRNDeblurNet(conv_layer, widths, residual)


def dau_srn_deblurnet(
    num_units: int = 2,
    sigma: float = 0.35,
    max_displacement: float = 4.0,
    widths: tuple[int, int, int] = (32, 64, 128),
    residual: bool = False,
) -> SRNDeblurNet:
    """Build the unit network: units replace all convolutions but the first and the last.

    Units start at random, normal around the centre, as in the paper.

    Args:
        num_units: units per pair of channels.
        sigma: width of the Gaussians in pixels. Default: 0.35, as in the paper for this network.
        max_displacement: bound of the displacements in pixels.
        widths: channels at the three resolutions.
        residual: whether the network computes what to add to the blurred image; see :class:`SRNDeblurNet`.

    Example:
        >>> sum(p.numel() for p in dau_srn_deblurnet().parameters() if p.ndim > 1)
        1780768
    """

    def conv_layer(inputs: int, outputs: int, stride: int) -> DAUConv2d:
        layer = DAUConv2d(
            inputs, outputs, num_units=num_units, max_displacement=max_displacement, stride=stride, sigma=sigma
        )
        init.normal_(layer.displacement, 0.5)
        return layer

    return SRNDeblurNet(conv_layer, widths, residual)


def _resized(images: Tensor, scale: float) -> Tensor:
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False) if scale != 1 else images
