"""Checkpoints with a digest, written completely or not at all, and checked when they are read. Needs no Lightning."""

import hashlib
import io
import os
import shutil
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

TITLE = b"torchdau sha256 "
DIGITS = 64


def write_checkpoint(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint as ``torch.save`` does, with a digest.

    An existing file stays until the new one is complete.

    Args:
        checkpoint: tensors and plain values.
        path: file to write; its folder is created.

    Raises:
        OSError: the file cannot be written. The message has the sizes; an existing file is kept.
    """
    file = Path(path)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    with ZipFile(content, "a") as archive:
        archive.comment = TITLE + b"0" * DIGITS
    content.truncate(content.seek(-DIGITS, io.SEEK_END))
    content.write(hashlib.sha256(content.getbuffer()).hexdigest().encode())
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as target:
            target.write(content.getbuffer())
            target.flush()
            os.fsync(target.fileno())
        os.replace(part, file)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"checkpoint of {len(content.getbuffer()):,} bytes cannot be written, {error.strerror}: "
            f"{_free(file.parent):,} bytes are free. {'The one before is kept' if file.exists() else 'None was there'}",
            str(file),
        ) from error


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a checkpoint: ``config`` as YAML, ``state_dict`` and Lightning's state for a resume.

    Args:
        path: file written by :func:`write_checkpoint`, as ``torchdau fit`` does.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a checkpoint, or differs in a bit from the written one.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"checkpoint must be a file that torchdau fit wrote, got {str(file)!r}, which is no file."
        )
    content = file.read_bytes()
    if content[-DIGITS - len(TITLE) : -DIGITS] != TITLE:
        raise ValueError(refusal(file, "it has no digest at its end: not written by torchdau fit, or cut off"))
    if hashlib.sha256(content[:-DIGITS]).hexdigest().encode() != content[-DIGITS:]:
        raise ValueError(refusal(file, "it is damaged: its digest is of another content"))
    try:
        saved = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (UnpicklingError, RuntimeError, BadZipFile, EOFError) as error:
        raise ValueError(refusal(file, error)) from error
    if not isinstance(saved, dict):
        raise ValueError(refusal(file, f"it holds a {type(saved).__name__}"))
    return saved


def refusal(checkpoint: str | os.PathLike[str], why: object) -> str:
    """Return the message that a file is not a checkpoint."""
    return f"checkpoint must be a file that torchdau fit wrote, got {str(checkpoint)!r}: {why}."


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
