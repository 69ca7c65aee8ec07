"""The steps of the spectral algorithm as Triton kernels. The files beside this one import Triton; nothing else does."""

import importlib.util
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from torchdau.algorithms.spectral.planning import narrow
from torchdau.algorithms.spectral.tiling import output_size, whole_length
from torchdau.kernels import TURNED_OFF
from torchdau.profile import Profile

CAPABILITY = (8, 0)
"""Compute capability from which a GPU has what the kernels use."""

LONGEST = 128
"""Pixels of a transform up to which the kernels serve: a tile's column of the spectrum stays in registers."""

TILE = 64
"""Pixels of a transform of a part of an image, where its units read no farther than leaves 16 outputs."""

UNITS = 16
"""Units of a filter up to which the kernels serve: those of some pairs of channels stay in registers."""

KEPT = 4
"""Spectra of the input are kept for the backward pass where they take at most so many times its memory."""

TRITON = torch.version.cuda is not None and importlib.util.find_spec("triton") is not None
"""Whether Triton and PyTorch are there for an NVIDIA GPU."""

_OFF = os.environ.get("TORCHDAU_KERNELS") == "0"


def available(device: torch.device) -> bool:
    """Whether the kernels serve on a GPU."""
    if _OFF or not TRITON or not torch.cuda.is_available():
        return False
    properties = torch.cuda.get_device_properties(device)
    return (properties.major, properties.minor) >= CAPABILITY


def reason() -> str:
    """Whether the kernels serve on the current GPU, and why not, in words."""
    if _OFF:
        return TURNED_OFF
    if not TRITON:
        return "none: they need PyTorch for CUDA, and Triton"
    if not torch.cuda.is_available():
        return "none: no NVIDIA GPU"
    device = torch.device("cuda", torch.cuda.current_device())
    return "Triton" if available(device) else f"none: they need compute capability {CAPABILITY[0]}.{CAPABILITY[1]}"


def fits(input: Tensor, weight: Tensor, stride: Sequence[int], profile: Profile) -> bool:
    """Whether the kernels are for such a layer: on an NVIDIA GPU of capability 8.0 or newer, float32 and half types."""
    if input.device.type != "cuda" or input.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    if profile.interpolation != "bilinear" or weight.shape[2] > UNITS or narrow(input, weight):
        return False
    largest = max(input.shape[1], weight.shape[0]) * input.shape[2] * input.shape[3]
    if largest >= 1 << 31:  # places within an image are numbers of 32 bits
        return False
    return 16 * max(stride) + profile.size <= LONGEST and input.numel() > 0 and available(input.device)


def kept_spectra(input: Tensor, stride: Sequence[int], padding: Sequence[int], profile: Profile) -> tuple[int, ...]:
    """Shape of the spectra that a forward pass keeps (N, frequencies, 2, C): empty for images in several tiles."""
    n, channels, *size = input.shape
    height, width = (
        whole_length(pixels, output_size(pixels, s, p), s, p, profile.first, profile.last)
        for pixels, s, p in zip(size, stride, padding, strict=True)
    )
    frequencies = (width // 2 + 1) * height
    few = 2 * frequencies * spectra_dtype(input).itemsize <= KEPT * size[0] * size[1] * input.dtype.itemsize
    return (n, frequencies, 2, channels) if few and height <= LONGEST and width <= LONGEST else (0,)


def spectra_dtype(input: Tensor) -> torch.dtype:
    """The type of the spectra: float16 would overflow, since the mean of a tile is multiplied by its side."""
    return torch.bfloat16 if input.dtype == torch.bfloat16 else torch.float32
