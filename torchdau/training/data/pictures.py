"""Pictures of any format and size in a folder, as input of a network."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from torchdau.training.data.faults import faults_of
from torchdau.training.data.files import pictures_in
from torchdau.whole import whole_file

UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""Errors of Pillow for unreadable files."""

DAMAGED = (*UNREADABLE, RuntimeError)
"""With the error of decoders of other libraries, as for AVIF."""

ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")
"""Formats whose frames are an animation; other formats keep thumbnails and the like beside the picture."""

GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
"""Modes of pictures without colours."""


def read_picture(file: str | os.PathLike[str]) -> Image.Image:
    """Read a picture as people see it: with EXIF rotation, in RGB, transparency on white, 16 bits scaled to 8.

    Raises:
        ValueError: the file is not a complete picture; the message names it.
    """
    return rgb(opened(file))


def rgb(picture: Image.Image) -> Image.Image:
    """Convert a picture to RGB with 8 bits, with transparency on white."""
    if picture.mode.startswith("I"):  # Pillow would clip 16 bits instead of scaling them
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def opened(file: str | os.PathLike[str]) -> Image.Image:
    """Read a picture with EXIF rotation, in its own mode.

    Raises:
        ValueError: the file is not a complete picture of at most 16 bits, or holds several; the message names it.
    """
    try:
        with Image.open(file) as image:
            frames = _frames(image)
            picture: Image.Image = ImageOps.exif_transpose(image)
            picture.load()
    except DAMAGED as error:
        raise ValueError(f"file must be a picture, got {str(file)!r}: {error}.") from error
    _refuse_several(file, frames)
    if picture.mode == "F" or (picture.mode == "I" and int(picture.getextrema()[1]) > 65535):  # type: ignore[arg-type]
        what = "floating point" if picture.mode == "F" else "32 bits"
        raise ValueError(f"file must be a picture of 8 or 16 bits, got {str(file)!r} in {what}. Save it with 16 bits.")
    return picture


def picture_shape(file: str | os.PathLike[str]) -> tuple[int, int]:
    """Return height and width of a picture as people see it, from the header of its file.

    Raises:
        ValueError: the file is not a picture, or holds several; the message names it.
    """
    try:
        with Image.open(file) as image:
            frames = _frames(image)
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    except DAMAGED as error:
        raise ValueError(f"file must be a picture, got {str(file)!r}: {error}.") from error
    _refuse_several(file, frames)
    return (width, height) if turned else (height, width)


def _frames(image: Image.Image) -> int:
    """Return the number of frames of an animation, or of pages of the same size."""
    if not getattr(image, "is_animated", False):
        return 1
    frames: int = image.n_frames  # type: ignore[attr-defined]
    if image.format == "TIFF":
        size = image.size
        image.seek(1)
        same = image.size == size  # else it is a small copy
        image.seek(0)
        return frames if same else 1
    return frames if image.format in ANIMATED else 1


def _refuse_several(file: str | os.PathLike[str], frames: int) -> None:
    if frames > 1:
        raise ValueError(
            f"file must be a single picture, got {str(file)!r} with {frames} frames. Save them as pictures."
        )


def pixels_of(picture: Image.Image) -> Tensor:
    """Return the pixels (3, H, W) of an RGB picture, 8 bits."""
    return torch.from_numpy(np.array(picture)).movedim(-1, 0)


def picture_of(pixels: Tensor) -> Image.Image:
    """Return the picture with 8-bit pixels (3, H, W)."""
    return Image.fromarray(pixels.movedim(0, -1).contiguous().numpy())


def save_picture(picture: Image.Image, path: Path, profile: bytes | None = None) -> None:
    """Write a PNG file with its colour profile, whole or not at all."""
    if profile and profile[16:20] != (b"GRAY" if picture.mode in GREY else b"RGB "):
        profile = None  # it is of another colour space, as of a CMYK picture
    with whole_file(path) as part:
        picture.save(part, "PNG", icc_profile=profile)


def header_fault(file: str | os.PathLike[str]) -> str | None:
    """Return why a file is no picture, as far as its header shows it, or None."""
    try:
        picture_shape(file)
    except ValueError as error:
        return str(error)
    return None


def leave_out_unreadable(dataset: Any) -> None:
    """Read all pictures of a set once, and leave out the samples whose first file cannot be read.

    Args:
        dataset: a set with files in ``samples``. Its new attribute ``unreadable`` has a sentence about each of them.

    Raises:
        ValueError: no picture can be read.
    """
    faults = faults_of(dataset.samples, lambda sample: _fault(sample[0]), "reading")
    dataset.samples = [sample for sample, fault in zip(dataset.samples, faults, strict=True) if not fault]
    dataset.unreadable = [fault for fault in faults if fault]
    if not dataset.samples:
        raise ValueError(f"pictures must be readable, got none of {len(faults)}. {dataset.unreadable[0]}")


def _fault(file: str) -> str | None:
    """Return why a picture cannot be read, or None."""
    try:
        opened(file)
    except ValueError as error:
        return str(error)
    return None


class Pictures(Dataset[tuple[Tensor, int]]):
    """The pictures in a folder and its subfolders, in the order of their names.

    Args:
        folder: folder of the pictures.
        transform: maps a picture to 8-bit pixels (3, H, W).

    Pictures that cannot be read are left out; all are read once beforehand to know them.

    Attributes:
        samples: pairs of a file and -1, since its class is not known.
        unreadable: a sentence about each file that is no picture.

    Raises:
        FileNotFoundError: the folder is missing or has no picture.
        ValueError: no picture can be read.
    """

    def __init__(self, folder: str | os.PathLike[str], transform: Callable[[Image.Image], Tensor]) -> None:
        self.samples = [(str(path), -1) for path in pictures_in(folder)]
        self.unreadable: list[str] = []
        leave_out_unreadable(self)
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a picture, and -1."""
        file, label = self.samples[index]
        return self.transform(read_picture(file)), label
