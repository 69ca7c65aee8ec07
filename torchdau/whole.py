"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside a file, which takes its place at the end, or is removed after an error.

    Args:
        path: the file; its folder is created. Until the end it stays as it was. The temporary path has its ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{os.getpid()}-{path.name[-200:]}")  # two processes may write the same file
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        if error.errno and error.filename in (None, str(part)):  # none where the disk is full
            error.filename = str(path)  # the name that the user gave
        raise
    finally:
        part.unlink(missing_ok=True)
