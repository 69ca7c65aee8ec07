"""Training on Lightning: tasks, data and the command line; the only folder that imports Lightning and torchvision."""

from torchdau.training.data import CIFAR10Data, DigitsData, ImageFolderData, ImageNetData
from torchdau.training.tasks import Classification

__all__ = ["CIFAR10Data", "Classification", "DigitsData", "ImageFolderData", "ImageNetData"]
