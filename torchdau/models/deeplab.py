"""DeepLabv3+ on a ResNet v2, plain or with units; arguments turn each part on or off."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torchdau.conv import DAUConv2d
from torchdau.models.aspp import aspp, dau_6u
from torchdau.models.network import Network
from torchdau.models.resnetv2 import dau_resnetv2, resnetv2
from torchdau.models.resolution import enlarge, spread_, unpool_

STRIDE, LOW_STRIDE = 16, 4
"""Pixels of the image for each pixel of the last and of the first stage."""

LOW_CHANNELS = 48
"""Channels to which DeepLabv3+ projects the features of the first stage."""

ConvLayer = Callable[[int, int], nn.Module]


class ResNetEncoder(nn.Module):
    """A classification ResNet v2 without its last max-pool and its classifier: features at 1/16 of the resolution.

    The layers of the last stage see features of twice the resolution, so plain kernels are dilated by 2, and
    displacements of units are doubled.

    Args:
        classifier: network of :func:`resnetv2` or :func:`dau_resnetv2`; its layers become parts of the encoder.
        spread: whether to dilate and scale. Without it, the last stage reaches less far in the image.

    Shape:
        - input: (N, 3, H, W)
        - output: features of the first stage (N, low_channels, H / 4, W / 4), and of the last (N, channels, H / 16,
          W / 16), sizes rounded up

    Reference:
        Section 6.2 of the paper.
    """

    def __init__(self, classifier: nn.Module, spread: bool = True) -> None:
        super().__init__()
        network: Any = classifier
        self.low_channels, self.channels = (int(network.feature_info[index]["num_chs"]) for index in (1, -1))
        self.stem: nn.Module = network.stem
        self.stages: nn.Sequential = network.stages
        self.norm: nn.Module = network.norm
        self.spread = spread
        last = unpool_(self.stages[-1])
        if spread:
            spread_(last, 2)

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the first and of the last stage."""
        first, *others = self.stages
        low = features = first(self.stem(input))
        for stage in others:
            features = stage(features)
        return low, self.norm(features)


class DeepLab(Network):
    """A network that computes logits of every pixel from the features of an encoder, with optional parts.

    Without pyramid and image pooling, the next part reads the encoder's features directly. Otherwise a 1 x 1
    convolution, the pyramid, and the mean over the image read them in parallel. Another 1 x 1 convolution joins their
    outputs. The decoder adds the features of the first stage, at a quarter of the image's resolution. A batch norm and
    a ReLU follow each convolution but the last, which starts at zero. Convolutions are not separable.

    Args:
        encoder: the encoder.
        num_classes: number of classes.
        pyramid: function of input and output channels that makes the layer for the wider surroundings. Default: None,
            no pyramid.
        pyramid_channels: channels of its output.
        image_pool: whether every pixel sees the mean over the image.
        decoder: function of input and output channels that makes each of the decoder's two 3 x 3 convolutions, or a
            replacement. Default: None, no decoder.
        width: channels between the parts.

    Shape:
        - input: (N, 3, H, W)
        - output: (N, num_classes, H, W), logits

    Reference:
        Chen, Zhu, Papandreou, Schroff, Adam, Encoder-Decoder with Atrous Separable Convolution for Semantic Image
        Segmentation, ECCV 2018; section 6.3 and Table 7 of the paper.
    """

    def __init__(
        self,
        encoder: ResNetEncoder,
        num_classes: int,
        pyramid: ConvLayer | None = None,
        pyramid_channels: int = 256,
        image_pool: bool = False,
        decoder: ConvLayer | None = None,
        width: int = 256,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = encoder
        self.image_pool = image_pool
        channels = encoder.channels
        self.branches = nn.ModuleList()
        self.join: nn.Module | None = None
        self.low: nn.Module | None = None
        if pyramid or image_pool:
            self.branches.append(_block(nn.Conv2d(channels, width, 1, bias=False), width))
        if pyramid:
            self.branches.append(_block(pyramid(channels, width), pyramid_channels))
        if image_pool:
            self.branches.append(
                nn.Sequential(nn.AdaptiveAvgPool2d(1), _block(nn.Conv2d(channels, width, 1, bias=False), width))
            )
        if self.branches:
            joined = width * (1 + image_pool) + (pyramid_channels if pyramid else 0)
            self.join = _block(nn.Conv2d(joined, width, 1, bias=False), width)
            channels = width
        if decoder:
            self.low = _block(nn.Conv2d(encoder.low_channels, LOW_CHANNELS, 1, bias=False), LOW_CHANNELS)
            self.decoder = nn.Sequential(
                _block(decoder(channels + LOW_CHANNELS, width), width), _block(decoder(width, width), width)
            )
            channels = width
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        for parameter in self.classifier.parameters():
            nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:
        """Return the logits of every pixel."""
        low, features = self.encoder(input)
        if self.training and self.image_pool and len(input) == 1:
            raise ValueError(
                "input must have more than one image in training, since the batch norm after image pooling has one "
                f"value for each, got input of shape {tuple(input.shape)}. Take larger batches for each device."
            )
        if self.join is not None:
            size = features.shape[-2:]
            parts = [branch(features) for branch in self.branches]
            features = self.join(torch.cat([part.expand(-1, -1, *size) for part in parts], 1))
        if self.low is not None:
            features = enlarge(features, STRIDE // LOW_STRIDE, low.shape[-2:])
            features = self.decoder(torch.cat([features, self.low(low)], 1))
        return enlarge(self.classifier(features), STRIDE if self.low is None else LOW_STRIDE, input.shape[-2:])

    def load_classifier(self, classifier: nn.Module) -> None:
        """Load the weights of a trained classification network of the same kind as the encoder's.

        Raises:
            RuntimeError: its layers differ.
        """
        encoder = ResNetEncoder(copy.deepcopy(classifier), self.encoder.spread)
        self.encoder.load_state_dict(encoder.state_dict())


def deeplab(
    name: str = "resnetv2_101",
    num_classes: int = 19,
    pyramid: bool = False,
    image_pool: bool = False,
    decoder: bool = False,
    spread: bool = True,
    width: int = 256,
    width_factor: float = 1.0,
) -> DeepLab:
    """Build the plain network: a cell on the left of Table 7.

    Args:
        name: name of a ResNet v2 in timm.
        num_classes: number of classes. Default: 19, as in Cityscapes.
        pyramid: whether to add the pyramid of three dilated convolutions (ASPP).
        image_pool: whether to add image pooling.
        decoder: whether to add the decoder.
        spread: whether to dilate the last stage of the encoder.
        width: channels between the parts.
        width_factor: factor for the channels of the encoder.
    """
    return DeepLab(
        ResNetEncoder(resnetv2(name, width_factor=width_factor), spread),
        num_classes,
        aspp if pyramid else None,
        3 * width,
        image_pool,
        _convolution if decoder else None,
        width,
    )


def dau_deeplab(
    name: str = "resnetv2_101",
    num_classes: int = 19,
    pyramid: bool = False,
    image_pool: bool = False,
    decoder: bool = False,
    spread: bool = True,
    num_units: int = 2,
    sigma: float = 0.5,
    max_displacement: float = 4.0,
    width: int = 256,
    width_factor: float = 1.0,
) -> DeepLab:
    """Build the unit network: a cell on the right of Table 7.

    Args:
        name: name of a ResNet v2 in timm.
        num_classes: number of classes. Default: 19, as in Cityscapes.
        pyramid: whether to add the layer of 6 units per pair of channels (DAU-6U).
        image_pool: whether to add image pooling.
        decoder: whether to add the decoder, with units.
        spread: whether to scale displacements in the last stage, as a trained classification network needs.
        num_units: units per pair of channels in the encoder and the decoder.
        sigma: width of the Gaussians in pixels.
        max_displacement: bound of the displacements in pixels, doubled in the last stage with ``spread``. DAU-6U has
            its own bound.
        width: channels between the parts.
        width_factor: factor for the channels of the encoder.
    """

    def units(inputs: int, outputs: int) -> DAUConv2d:
        return DAUConv2d(
            inputs, outputs, num_units=num_units, max_displacement=max_displacement, sigma=sigma, bias=False
        )

    pyramid_layer = partial(dau_6u, sigma=sigma) if pyramid else None
    encoder = ResNetEncoder(dau_resnetv2(name, num_units, sigma, max_displacement, width_factor=width_factor), spread)
    return DeepLab(encoder, num_classes, pyramid_layer, width, image_pool, units if decoder else None, width)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def _block(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU())
