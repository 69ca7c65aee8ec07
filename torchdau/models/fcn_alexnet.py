"""AlexNet for segmentation: fully convolutional, at an eighth of the image's resolution."""

import copy
from typing import Any, cast

from torch import Tensor, nn

from torchdau.models.alexnet import AlexNet
from torchdau.models.network import Network
from torchdau.models.resolution import enlarge, spread_

DILATION = 4
"""Dilation of the first fully connected layer, because two max-pools before it are removed."""


class FCNAlexNet(Network):
    """A classification AlexNet without its last two max-pools, its fully connected layers as convolutions.

    The third to fifth convolution see features of twice the resolution, so plain kernels are dilated by 2, and
    displacements of units are doubled. The first fully connected layer sees four times the resolution and is dilated by
    4. The new last layer starts at zero. Its logits are enlarged to the image size bilinearly; Long et al. use a
    deconvolution that starts as bilinear interpolation. Pixels beyond the border are zero in every layer.

    Args:
        classifier: the classification network; its layers become parts of this one.
        num_classes: number of classes. Default: 21, as in PASCAL VOC.
        spread: whether to dilate and scale the convolutions. Without it, they reach less far in the image.

    Shape:
        - input: (N, C, H, W)
        - output: (N, num_classes, H, W), logits

    Example:
        >>> torchdau.models.FCNAlexNet(torchdau.models.dau_alexnet("small"), 5)(torch.randn(1, 3, 65, 90)).shape
        torch.Size([1, 5, 65, 90])

    Reference:
        Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, CVPR 2015; sections 4.3 and
        6.1 of the paper.
    """

    def __init__(self, classifier: AlexNet, num_classes: int = 21, spread: bool = True) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.spread = spread
        layers: list[Any] = list(classifier.features)
        pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        layers[0].padding = tuple(side // 2 for side in layers[0].kernel_size)
        layers[pools[0]].padding = 1
        self.stride = 2 * layers[0].stride[0]
        if spread:
            for layer in layers[pools[1] :]:
                spread_(layer, 2)
        self.features = nn.Sequential(*(layer for index, layer in enumerate(layers) if index not in pools[1:]))
        side = cast("int", classifier.pool.output_size)
        full, second = cast("list[nn.Linear]", list(classifier.classifier[1:7:3]))
        channels, hidden = full.in_features // side**2, full.out_features
        before = (side - 1) * DILATION // 2
        after = (side - 1) * DILATION - before
        self.head = nn.Sequential(
            nn.ZeroPad2d((before, after, before, after)),
            nn.Conv2d(channels, hidden, side, dilation=DILATION),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(hidden, num_classes, 1),
        )
        for new, old in zip(cast("list[nn.Conv2d]", list(self.head[1:7:3])), (full, second), strict=True):
            new.weight.data = old.weight.data.view_as(new.weight)
            new.bias = old.bias
        for parameter in self.head[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:
        """Return the logits of every pixel."""
        logits = self.head(self.features(input))
        return enlarge(logits, self.stride, input.shape[-2:])

    def load_classifier(self, classifier: AlexNet) -> None:
        """Load the weights of a trained classification network of the same layers.

        Raises:
            RuntimeError: its layers differ.
        """
        self.load_state_dict(FCNAlexNet(copy.deepcopy(classifier), self.num_classes, self.spread).state_dict())
