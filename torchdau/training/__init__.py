"""Training on Lightning: tasks, data and the command line; the only folder that imports Lightning and torchvision."""

from torchdau.training.classification import Classification
from torchdau.training.classification_data import CIFAR10Data, DigitsData, ImageFolderData, ImageNetData
from torchdau.training.deblurring import Deblurring
from torchdau.training.deblurring_data import GOPROData
from torchdau.training.schedules import PolynomialDecay
from torchdau.training.segmentation import Segmentation
from torchdau.training.segmentation_data import CityscapesData, SegmentationFolderData, VOCData

__all__ = [
    "CIFAR10Data",
    "CityscapesData",
    "Classification",
    "Deblurring",
    "DigitsData",
    "GOPROData",
    "ImageFolderData",
    "ImageNetData",
    "PolynomialDecay",
    "Segmentation",
    "SegmentationFolderData",
    "VOCData",
]
