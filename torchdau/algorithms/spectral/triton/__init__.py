"""The steps of the spectral algorithm as Triton kernels."""

import torch

from torchdau.algorithms.layer import Layer, output_size
from torchdau.algorithms.spectral.planning import narrow
from torchdau.algorithms.spectral.tiling import whole_length
from torchdau.gpu import available

LONGEST = 128
"""Longest transform of the kernels in pixels: a column of the spectrum of a tile stays in registers."""

TILE = 64
"""Transform length in pixels of parts of an image, if it leaves at least 16 outputs beside the window."""

UNITS = 16
"""Most units per filter for the kernels: the units of a block of channel pairs stay in registers."""

KEPT = 4
"""Largest memory of input spectra to keep for the backward pass, as a multiple of the input's memory."""


def fits(layer: Layer) -> bool:
    """Return whether the kernels are for a layer: on NVIDIA GPUs of capability 8.0 or newer, float32 and half types."""
    if layer.device.type != "cuda" or layer.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    (n, i, height, width), (o, _, k) = layer.input, layer.weight
    if layer.profile.interpolation != "bilinear" or k > UNITS or narrow(layer.input, layer.weight):
        return False
    if max(i, o) * height * width >= 1 << 31:  # kernels address an image by 32-bit numbers
        return False
    return 16 * max(layer.stride) + layer.profile.size <= LONGEST and n > 0 and available(layer.device)


def kept_spectra(layer: Layer) -> tuple[int, ...]:
    """Return the shape (N, frequencies, 2, C) of the spectra to keep, or (0,) to keep none.

    Spectra are not kept for images that are cut into several tiles, or if they are larger than ``KEPT`` allows.
    """
    n, channels, *size = layer.input
    profile = layer.profile
    height, width = (
        whole_length(pixels, output_size(pixels, s, p), s, p, profile.first, profile.last)
        for pixels, s, p in zip(size, layer.stride, layer.padding, strict=True)
    )
    frequencies = (width // 2 + 1) * height
    few = 2 * frequencies * spectra_dtype(layer.dtype).itemsize <= KEPT * size[0] * size[1] * layer.dtype.itemsize
    return (n, frequencies, 2, channels) if few and height <= LONGEST and width <= LONGEST else (0,)


def spectra_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the spectra. float16 would overflow: a transform multiplies the mean of a tile by its side."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
