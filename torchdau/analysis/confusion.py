"""Numbers: what a confusion matrix says of a segmentation."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Shares of pixels.

    Attributes:
        iou: for each class, intersection over union of true and predicted pixels; NaN for classes that are in neither.
        accuracies: for each class, the share of its true pixels that was found; NaN for classes without any.
        mean_iou: mean over the classes that are in either.
        mean_accuracy: mean over the classes that have true pixels.
        accuracy: the share of all pixels that was found.
    """

    iou: Tensor
    accuracies: Tensor
    mean_iou: float
    mean_accuracy: float
    accuracy: float


def scores(confusion: Tensor) -> Scores:
    """What the benchmarks of PASCAL VOC and Cityscapes report, from one matrix over the whole set.

    Args:
        confusion: numbers of pixels by true and predicted class, of shape (classes, classes).

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
