"""Media from the server's own disk, for operators who name a folder: nothing outside it is read."""

import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pandagpt.errors import InvalidMedia, MediaNotAllowed, MediaTooLarge


def read_local(url: str, folder: Path, max_bytes: int) -> bytes:
    """`file:///PATH`: symbolic links are followed first, and what they lead to is checked.

    `folder` is resolved already. Whatever is not in it gets one answer, whether it exists or not.
    """
    path = _resolved(url)
    if path is None or not path.is_relative_to(folder):
        raise MediaNotAllowed("This file is not in the folder that this server reads media from.")
    try:
        # A pipe must not be waited for, and a link put in place since then not be followed.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise InvalidMedia("There is no such file in the media folder.") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InvalidMedia("There is no such file in the media folder.")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > max_bytes:
            raise MediaTooLarge(f"The file has {status.st_size} bytes; the limit is {max_bytes}.")
        return file.read(max_bytes)


def _resolved(url: str) -> Path | None:
    try:
        parts = urlsplit(url)
        path = Path(unquote(parts.path, errors="strict"))
        if parts.netloc not in ("", "localhost") or not path.is_absolute():
            return None
        return path.resolve()
    except (ValueError, OSError, RuntimeError):
        return None
