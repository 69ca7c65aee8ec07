"""Training on Lightning: tasks, data and the command line; the only folder that imports Lightning and torchvision."""

from torchdau.training.classification import Classification
from torchdau.training.classification_data import CIFAR10Data, DigitsData, ImageFolderData, ImageNetData

__all__ = ["CIFAR10Data", "Classification", "DigitsData", "ImageFolderData", "ImageNetData"]
