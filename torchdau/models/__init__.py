"""Networks of the paper: plain modules whose convolution is an argument."""

from torchdau.models.cifar import CIFARNet, cifarnet, dau_cifarnet

__all__ = ["CIFARNet", "cifarnet", "dau_cifarnet"]
