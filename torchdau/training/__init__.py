"""Training on Lightning: tasks, data modules and callbacks.

Classes are imported on first use, so files that do not need Lightning load without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchdau.training.classification import Classification
    from torchdau.training.csv_logger import CSVLogger
    from torchdau.training.data.cifar10 import CIFAR10Data
    from torchdau.training.data.cityscapes import CityscapesData
    from torchdau.training.data.digits import DigitsData
    from torchdau.training.data.gopro import GOPROData
    from torchdau.training.data.image_folder import ImageFolderData, ImageNetData
    from torchdau.training.data.segmentation_folder import SegmentationFolderData
    from torchdau.training.data.voc import VOCData
    from torchdau.training.deblurring import Deblurring
    from torchdau.training.schedules import CosineDecay, MultiStepDecay, PolynomialDecay
    from torchdau.training.segmentation import Segmentation
    from torchdau.training.watch import WatchUnits

_MODULES = {
    "CIFAR10Data": "data.cifar10",
    "CSVLogger": "csv_logger",
    "CityscapesData": "data.cityscapes",
    "Classification": "classification",
    "CosineDecay": "schedules",
    "Deblurring": "deblurring",
    "DigitsData": "data.digits",
    "GOPROData": "data.gopro",
    "ImageFolderData": "data.image_folder",
    "ImageNetData": "data.image_folder",
    "MultiStepDecay": "schedules",
    "PolynomialDecay": "schedules",
    "Segmentation": "segmentation",
    "SegmentationFolderData": "data.segmentation_folder",
    "VOCData": "data.voc",
    "WatchUnits": "watch",
}

__all__ = [
    "CIFAR10Data",
    "CSVLogger",
    "CityscapesData",
    "Classification",
    "CosineDecay",
    "Deblurring",
    "DigitsData",
    "GOPROData",
    "ImageFolderData",
    "ImageNetData",
    "MultiStepDecay",
    "PolynomialDecay",
    "Segmentation",
    "SegmentationFolderData",
    "VOCData",
    "WatchUnits",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
