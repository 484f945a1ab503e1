"""Files that are whole or absent, and still there after a power cut."""

import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mer_search.errors import DiskError

HERE = re.sub(r"\W", "_", socket.gethostname())
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)  # no fault of the program's
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # of file systems whose folders need none, or have none


@contextmanager
def disk(path: Path | None = None) -> Iterator[None]:
    """A DiskError for whatever a disk refuses within; `path` is named if the system names nothing."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        what = path or error.filename or "the disk"
        raise DiskError(
            f"{what} must be usable, but is not ({error.strerror}); make room or mend its permissions, and the same "
            "command goes on from here"
        ) from error


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that it is whole or absent, whenever the process dies or the power fails.

    Write, fsync, rename, fsync of the folder. A process that is killed leaves at most a temporary file (see `sweep`).

    Raises:
        DiskError: if the disk is full, or the folder cannot be written.
    """
    temporary = path.parent / f".{path.name}.{HERE}-{os.getpid()}.partial"
    with disk(path):
        _make(path.parent)
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):  # a disk that takes nothing any more
                temporary.unlink(missing_ok=True)
        _sync(path.parent)


def sweep(folder: Path) -> None:
    """Delete what killed processes of this machine left in a folder and below it: files that were not whole yet."""
    for path in folder.rglob(f".*.{HERE}-*.partial"):
        if not _alive(int(path.stem.rpartition("-")[2])):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _make(folder: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take them away."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)
