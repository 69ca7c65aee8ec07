"""Files of pictures in folders: which are data, and what results are called."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

logger = logging.getLogger("torchdau")

NO_DATA = {
    *("#recycle", "$recycle.bin", "@eadir", "@recycle", "@tmp", "__macosx", "__pycache__", "desktop.ini"),
    *("lost+found", "system volume information", "thumbs.db"),
}
"""Folders and files that systems put beside pictures, in small letters."""


def is_data(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Return whether a path inside of a folder is data: neither hidden nor put there by the system."""
    return not any(part.startswith(".") or part.lower() in NO_DATA for part in Path(path).relative_to(folder).parts)


def say_left_out(others: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]) -> None:
    """Log a warning about files of a folder that are no pictures, if there are some."""
    if others:
        logger.warning("left out in %s: %d that are no pictures, such as %s", folder, len(others), others[0])


def only_pictures(files: Iterable[Path], folder: str | os.PathLike[str]) -> list[Path]:
    """Return those of a folder's files that end like pictures and are data, sorted, and say what is left out.

    Pipes and the like are left out too. A broken link stays, so that it is named when it is read.
    """
    endings = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN}
    data = sorted(path for path in files if is_data(path, folder) and not path.is_dir())
    pictures = [path for path in data if path.suffix.lower() in endings and (path.is_file() or not path.exists())]
    say_left_out(sorted({*data} - {*pictures}), folder)
    return pictures


def pictures_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the pictures in a folder and its subfolders in the order of their names, or the one file given.

    Raises:
        FileNotFoundError: the folder is missing or has no picture.
    """
    folder = Path(folder).expanduser()
    if folder.is_file():
        return [folder]
    files = only_pictures(folder.rglob("*"), folder)
    if not files:
        raise FileNotFoundError(
            f"pictures must name a folder with files that Pillow reads, such as .jpg and .png, got pictures="
            f"{str(folder)!r}, {'which has none' if folder.is_dir() else 'which is not there'}."
        )
    return files


def distinct_names(files: Sequence[str]) -> list[Path]:
    """Return output names for files: relative to the folder that holds them all, without their endings.

    Endings stay if two names would be equal, as for ``a.jpg`` and ``a.png``. No name leads out of the output folder,
    whatever the files are called.
    """
    paths = [Path(os.path.abspath(file)) for file in files]
    common = os.path.commonpath([path.parent for path in paths])
    names = [path.relative_to(common) for path in paths]
    short = [name.with_suffix("") for name in names]
    return short if len(set(short)) == len(short) else names
