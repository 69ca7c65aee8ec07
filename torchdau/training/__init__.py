"""Training on Lightning: tasks, data and the command line; the only folder that imports Lightning and torchvision."""

from torchdau.training.classification import Classification
from torchdau.training.data.cifar10 import CIFAR10Data
from torchdau.training.data.cityscapes import CityscapesData
from torchdau.training.data.digits import DigitsData
from torchdau.training.data.gopro import GOPROData
from torchdau.training.data.image_folder import ImageFolderData, ImageNetData
from torchdau.training.data.segmentation_folder import SegmentationFolderData
from torchdau.training.data.voc import VOCData
from torchdau.training.deblurring import Deblurring
from torchdau.training.schedules import PolynomialDecay
from torchdau.training.segmentation import Segmentation
from torchdau.training.watch import WatchUnits

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
    "WatchUnits",
]
