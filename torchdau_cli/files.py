"""Files that a user names, looked at before anything is imported that takes seconds."""

import re
from pathlib import Path

DIGEST = re.compile(rb"[0-9a-f]{64}")
"""The end of a checkpoint, as ``torchdau.training.checkpoints`` writes it."""


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
        raise ValueError(f"{start}, which holds weights alone. Open it in Python, with torchdau.load_model.")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        if not DIGEST.fullmatch(file.read()):
            raise ValueError(f"{start}: it has no digest at its end: not written by torchdau fit, or cut off.")
