"""Files that are whole or absent, and no larger than what is read of them can be."""

import os
import stat
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from mer_search.errors import DataError, UsageError

MOST = 256 << 20  # bytes of a file that is read whole: a frame, a table, a study
TEXT = 1 << 20  # bytes of a study file or a plan
WHOLE = 2**53  # integers in them lie between this and its negative: a float holds them all
UNPACKED = 4 << 30  # bytes that an archive may have unpacked: 10,000 epochs of 442 clips and 100 seeds have 3 G


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that it is whole or absent, whenever the process dies: write, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def content_of(path: Path, most: int = MOST) -> bytes:
    """What stands in a file.

    Raises:
        DataError: if it is no regular file, such as a pipe, which never ends, or has more bytes than `most`.
        OSError: if it cannot be read.
    """
    if (size := _size(path)) > most:
        raise DataError(f"{path} must have {most:,} bytes at most, but has {size:,}; is it the right file?")
    return path.read_bytes()


def _size(path: Path) -> int:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise DataError(f"{path} must be a file, but is something else; put the file there")
    return facts.st_size


def check_archive(path: Path, most: int = UNPACKED) -> None:
    """Refuse an archive (.xlsx, .npz) by what its list of contents says, before anything is unpacked; zipfile gives
    nobody more than that.

    Raises:
        DataError: if that is more bytes than `most`.
        OSError, zipfile.BadZipFile: if it is no archive.
    """
    _size(path)
    with zipfile.ZipFile(path) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > most:
        raise DataError(f"{path} must have {most:,} bytes at most when unpacked, but would have {size:,}")


def tree_of(text: str) -> dict[str, Any]:
    """What a TOML text says.

    Raises:
        UsageError: if it is none, or holds an integer that is no sensible one.
    """
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise UsageError("not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # also of numbers with thousands of digits
        raise UsageError(f"not valid TOML: {error}") from error
    if any(abs(number) > WHOLE for number in _integers(tree)):
        raise UsageError(f"an integer must lie within {WHOLE:,} of 0, but one does not")
    return tree


def _integers(tree: Any) -> Iterator[int]:
    if isinstance(tree, dict | list):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _integers(each)
    elif isinstance(tree, int):
        yield tree
