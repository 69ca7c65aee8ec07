"""Atrous spatial pyramid pooling of DeepLab, and the single unit layer that replaces it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchdau.conv import DAUConv2d
from torchdau.models.network import Network


class ASPP(Network):
    """Parallel 3 x 3 convolutions with different dilations, concatenated along the channels.

    Args:
        in_channels: channels of the features.
        out_channels: channels of each branch.
        dilations: dilation of each branch, in pixels of the features. Default: DeepLab's at output stride 16.

    Shape:
        - input: (N, in_channels, H, W)
        - output: (N, len(dilations) * out_channels, H, W)

    Reference:
        Chen, Zhu, Papandreou, Schroff, Adam, Encoder-Decoder with Atrous Separable Convolution for Semantic Image
        Segmentation, ECCV 2018; section 6.3 of the paper, whose convolutions are not separable.
    """

    def __init__(
        self, in_channels: int = 2048, out_channels: int = 256, dilations: Sequence[int] = (6, 12, 18)
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
            for dilation in dilations
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return the features at all dilations."""
        return torch.cat([branch(input) for branch in self.branches], 1)


def aspp(in_channels: int = 2048, out_channels: int = 256) -> ASPP:
    """Build the pyramid of DeepLab on a ResNet."""
    return ASPP(in_channels, out_channels)


def dau_6u(
    in_channels: int = 2048, out_channels: int = 256, sigma: float = 0.5, max_displacement: float = 24.0
) -> DAUConv2d:
    """Build one layer of 6 units per pair of channels in place of the pyramid (the paper's DAU-6U).

    Args:
        in_channels: channels of the features.
        out_channels: channels of the output.
        sigma: width of the Gaussians in pixels.
        max_displacement: bound of the displacements in pixels. Default: 24, beyond the reach of the pyramid, 18.
    """
    return DAUConv2d(in_channels, out_channels, num_units=6, max_displacement=max_displacement, sigma=sigma, bias=False)
