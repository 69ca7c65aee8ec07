"""Files that a user names, looked at before anything is imported that takes seconds."""

import os
import re
from pathlib import Path

DIGEST = re.compile(rb"[0-9a-f]{64}")
"""The end of a checkpoint, as ``torchdau.training.checkpoints`` writes it."""


def packaged(kind: str) -> Path:
    """Return the folder of the package's ``"recipes"`` or ``"weights"``: in a clone, that of the repository."""
    here = Path(__file__).parent
    return here / kind if (here / kind).is_dir() else here.parent / kind


def check_checkpoint(path: str | Path) -> None:
    """Raise an error if a file cannot be a checkpoint; whether it is one, reading it will tell.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is something else.
    """
    path = Path(path)
    start = f"checkpoint must be a file that torchdau fit wrote, got {str(path)!r}"
    if not path.is_file():
        raise FileNotFoundError(f"{start}, which is no file.")
    if path.suffix == ".safetensors":
        raise ValueError(f"{start}, which holds weights alone. torchdau.load_model opens it, in Python.")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        if not DIGEST.fullmatch(file.read()):
            raise ValueError(f"{start}: it has no digest at its end: not written by torchdau fit, or cut off.")


def check_output(path: Path, overwrite: bool) -> None:
    """Raise an error if a file cannot be written, before the work for it.

    Raises:
        FileExistsError: the file exists and must not be replaced.
        IsADirectoryError: the path is a folder.
        PermissionError: files cannot be written there.
    """
    if path.is_dir():
        raise IsADirectoryError(f"output must be a file, got the folder {str(path)!r}.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"output must not be there yet, got {str(path)!r}. Give --overwrite true.")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"output must be where files can be written, got {str(path)!r}. Name another --output.")
