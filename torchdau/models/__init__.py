"""Networks: those of the paper, plain modules whose convolution is an argument, and those of libraries by name."""

from torchdau.models.alexnet import AlexNet, alexnet, dau_alexnet
from torchdau.models.cifar import CIFARNet, cifarnet, dau_cifarnet
from torchdau.models.library import library_model
from torchdau.models.srn_deblur import SRNDeblurNet, dau_srn_deblurnet, srn_deblurnet

__all__ = [
    "AlexNet",
    "CIFARNet",
    "SRNDeblurNet",
    "alexnet",
    "cifarnet",
    "dau_alexnet",
    "dau_cifarnet",
    "dau_srn_deblurnet",
    "library_model",
    "srn_deblurnet",
]
