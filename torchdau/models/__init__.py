"""Networks of the paper, plain modules with the convolution as an argument, and networks of libraries by name."""

from torchdau.models.alexnet import AlexNet, alexnet, cifar_alexnet, dau_alexnet, dau_cifar_alexnet
from torchdau.models.aspp import ASPP, aspp, dau_6u
from torchdau.models.cifar import CIFARNet, cifarnet, dau_cifarnet
from torchdau.models.classifier import classifier, dau_classifier
from torchdau.models.deeplab import DeepLab, dau_deeplab, deeplab
from torchdau.models.fcn_alexnet import FCNAlexNet
from torchdau.models.library import library_model
from torchdau.models.resnetv2 import cifar_resnetv2, dau_cifar_resnetv2, dau_resnetv2, resnetv2
from torchdau.models.srn_deblur import SRNDeblurNet, dau_srn_deblurnet, srn_deblurnet

__all__ = [
    "ASPP",
    "AlexNet",
    "CIFARNet",
    "DeepLab",
    "FCNAlexNet",
    "SRNDeblurNet",
    "alexnet",
    "aspp",
    "cifar_alexnet",
    "cifar_resnetv2",
    "cifarnet",
    "classifier",
    "dau_6u",
    "dau_alexnet",
    "dau_cifar_alexnet",
    "dau_cifar_resnetv2",
    "dau_cifarnet",
    "dau_classifier",
    "dau_deeplab",
    "dau_resnetv2",
    "dau_srn_deblurnet",
    "deeplab",
    "library_model",
    "resnetv2",
    "srn_deblurnet",
]
