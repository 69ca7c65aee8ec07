"""Colours of 16 bits, which Pillow reads and writes with 8, by OpenCV where it is installed."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from torchdau.whole import whole_file


def has_opencv() -> bool:
    """Return whether OpenCV is installed."""
    return find_spec("cv2") is not None


def read_deep_colours(file: str | os.PathLike[str], picture: Image.Image) -> np.ndarray | None:
    """Return the colours of a picture, upright: (H, W, 3) in 16 bits.

    Args:
        file: the file of the picture.
        picture: what Pillow reads from it, upright, in RGB or RGBA.

    Returns:
        None without OpenCV, and where OpenCV reads another picture than Pillow.
    """
    if not has_opencv():
        return None
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # or it prints what it cannot read
    read: Any = cv2.imread(os.fspath(file), cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH)
    shallow = np.array(picture)[..., :3]
    if read is None or read.dtype != np.uint16 or read.shape != shallow.shape:
        return None
    colours: np.ndarray = read[..., ::-1]
    return colours if np.abs((colours >> 8) - shallow.astype(np.int32)).max() <= 1 else None


def write_deep_colours(colours: np.ndarray, path: Path, profile: bytes | None) -> None:
    """Write colours of 16 bits, (H, W, 3) or with opacity (H, W, 4), as a PNG file with a colour profile."""
    import cv2

    order = [2, 1, 0, 3][: colours.shape[2]]
    kinds = [cv2.IMAGE_METADATA_ICCP] if profile else []
    chunks = [np.frombuffer(profile, np.uint8)] if profile else []
    _, encoded = cv2.imencodeWithMetadata(".png", np.ascontiguousarray(colours[..., order]), kinds, chunks)
    with whole_file(path) as part:
        part.write_bytes(encoded.tobytes())
