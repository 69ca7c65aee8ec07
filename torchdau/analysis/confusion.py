"""Scores of a segmentation from its confusion matrix; numbers only."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Shares of pixels.

    Attributes:
        iou: for each class, intersection over union of true and predicted pixels; NaN for classes with neither.
        accuracies: for each class, the share of its true pixels that were predicted; NaN for classes without any.
        mean_iou: mean over the classes with true or predicted pixels.
        mean_accuracy: mean over the classes with true pixels.
        accuracy: share of all pixels whose class was predicted.
    """

    iou: Tensor
    accuracies: Tensor
    mean_iou: float
    mean_accuracy: float
    accuracy: float


def scores(confusion: Tensor) -> Scores:
    """Return the scores of the PASCAL VOC and Cityscapes benchmarks, from one matrix over the whole set.

    Args:
        confusion: numbers of pixels by true and predicted class, shape (classes, classes).

    Example:
        >>> scores(torch.tensor([[3, 1], [0, 4]])).iou.tolist()
        [0.75, 0.8]
    """
    confusion = confusion.cpu().double()
    found, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    iou, accuracies = found / (true + predicted - found), found / true
    return Scores(
        iou,
        accuracies,
        iou.nanmean().item(),
        accuracies.nanmean().item(),
        (found.sum() / confusion.sum()).item(),
    )
