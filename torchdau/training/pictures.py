"""Pictures of any format and size in a folder, for a network to look at."""

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset


def read_picture(file: str | os.PathLike[str]) -> Image.Image:
    """Reads a picture as people see it: turned as its EXIF data say, in RGB, transparency on white, 16 bits as 8.

    Raises:
        ValueError: the file is not a whole picture; the message names it.
    """
    try:
        with Image.open(file) as opened:
            picture: Image.Image = ImageOps.exif_transpose(opened)
            picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"file must be a picture, got {str(file)!r}: {error}.") from error
    if picture.mode.startswith("I"):  # Pillow would cut 16 bits off, and not scale them
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


class Pictures(Dataset[tuple[Tensor, int]]):
    """The pictures in a folder and the folders inside of it, in the order of their names.

    Args:
        folder: where they are.
        transform: what a picture becomes: 8-bit pixels (3, H, W).

    Attributes:
        samples: pairs of a file and -1, since its class is not known.

    Raises:
        FileNotFoundError: the folder is missing or holds no picture.
    """

    def __init__(self, folder: str | os.PathLike[str], transform: Callable[[Image.Image], Tensor]) -> None:
        endings = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN}
        files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in endings)
        if not files:
            raise FileNotFoundError(
                f"pictures must name a folder with files that Pillow reads, such as .jpg and .png, got pictures="
                f"{str(folder)!r}, {'which has none' if Path(folder).is_dir() else 'which is not there'}."
            )
        self.samples = [(str(path), -1) for path in files]
        self.transform = transform

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """A picture, and -1."""
        file, label = self.samples[index]
        return self.transform(read_picture(file)), label
