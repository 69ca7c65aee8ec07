"""Networks: those of the paper, plain modules whose convolution is an argument, and those of libraries by name."""

from torchdau.models.alexnet import AlexNet, alexnet, dau_alexnet
from torchdau.models.cifar import CIFARNet, cifarnet, dau_cifarnet
from torchdau.models.library import library_model

__all__ = ["AlexNet", "CIFARNet", "alexnet", "cifarnet", "dau_alexnet", "dau_cifarnet", "library_model"]
