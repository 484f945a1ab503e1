"""Files that are whole or absent, still there after a power cut, and no larger than what is read of them can be."""

import csv
import errno
import glob
import io
import os
import re
import shutil
import socket
import stat
import threading
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mer_search.errors import DataError, DiskError, UsageError

MAX_BYTES = 256 << 20  # bytes of a file that is read whole: a frame, a table, a study
RUNS = Path("runs")  # where results are kept unless something else is asked for
STORAGE = "sqlite:///mer-search.db"  # where studies are kept if nothing else is said
RANGES = {  # the least and the most that commands and the Python API take
    "trials": (1, 1_000_000),
    "seed": (0, 899),
    "seeds": (1, 100),
    "first_seed": (0, 2**32 - 1),
    "slots": (1, 1024),
    "in_flight": (1, 1024),
}
MAX_TEXT = 1 << 20  # bytes of a study file or a plan
MAX_INTEGER = 2**53  # integers in them lie between this and its negative: a float holds them all
HOST = re.sub(r"\W", "_", socket.gethostname())
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)  # no fault of the program's
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # of file systems whose folders need none, or have none
MAX_UNPACKED = 4 << 30  # bytes that an archive may have unpacked: 10,000 epochs of 442 clips and 100 seeds have 3 G


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


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file so that it is whole or absent, whenever the process dies or the power fails; a DiskError if the disk
    is full or cannot be written.

    Write, fsync, rename, fsync of the folder. A process that is killed leaves at most a temporary file (see `sweep`).
    If it need not be durable, nothing waits for the disk, and after a power cut the file may be torn.
    """
    if path.is_dir():
        raise UsageError(f"a file cannot be written in the place of the folder {path}; name another")
    temporary = path.parent / f".{path.name}.{HOST}-{os.getpid()}.partial"
    with disk(path):
        make_folder(path.parent)
        with _unfinished(temporary):
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        if durable:
            _sync(path.parent)


def csv_text(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text).writerows([head, *rows])
    return text.getvalue()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill. In the end it becomes `path`; on an error it is deleted.

    Raises:
        UsageError: unless `path` is absent or empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} must be a new or empty folder, but something is there; remove it or name another")
    building = path.with_name(f".{path.name}.{HOST}-{os.getpid()}.part")
    _sweep(path.parent.glob(f".{glob.escape(path.name)}.{HOST}-*.part"))
    with _unfinished(building):
        building.mkdir(parents=True)
        yield building
        if path.exists():
            path.rmdir()  # Windows does not rename onto a folder
        building.rename(path)


def sweep(folder: Path) -> None:
    """Delete what killed processes of this machine left in a folder and below it: files that were not whole yet."""
    _sweep(folder.rglob(f".*.{HOST}-*.partial"))


def delete_unfinished() -> None:
    """Delete this process's files and folders that are not whole yet. It must end at once: no more can be made."""
    _changing.acquire(timeout=1)
    for path in list(_paths):
        _delete(path)


_paths: set[Path] = set()  # files and folders of this process that are not whole yet
_changing = threading.Lock()


@contextmanager
def _unfinished(path: Path) -> Iterator[None]:
    """A path is deleted in the end if it is still there."""
    with _changing:
        _paths.add(path)
    try:
        yield
    finally:
        with _changing:
            _delete(path)
            _paths.discard(path)


def _sweep(paths: Iterable[Path]) -> None:
    for path in list(paths):
        pid = path.stem.rpartition("-")[2]
        if path not in _paths and re.fullmatch("[0-9]{1,9}", pid) and (int(pid) == os.getpid() or not _alive(int(pid))):
            _delete(path)


def _delete(path: Path) -> None:
    """Delete a file or a folder, if the disk lets us; a folder is renamed first, so that no thread fills it."""
    with suppress(OSError):
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        before, _, pid = path.name.rpartition("-")
        with suppress(OSError):
            path = path.rename(path.with_name(f"{before}-gone-{pid}"))
        shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take them away; none any more once
    `delete_unfinished` has begun, which a thread that still writes would put back."""
    if not folder.is_dir():
        with _changing:
            _make(folder)


def _make(folder: Path) -> None:
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


def content_of(path: Path, most: int = MAX_BYTES) -> bytes:
    """What stands in a file; a DataError if it is no regular file, or has more bytes than `most`."""
    _check_regular(path)
    if (size := path.stat().st_size) > most:
        raise DataError(f"{path} must have {most:,} bytes at most, but has {size:,}; is it the right file?")
    return path.read_bytes()


def _check_regular(path: Path) -> None:
    """Raise DataError for a pipe, which never ends, or a device; OSError if there is nothing."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path} must be a file, but is something else; put the file there")


def check_archive(path: Path, most: int = MAX_UNPACKED) -> None:
    """Refuse an archive (.xlsx, .npz) with a DataError if its list of contents says that it has more bytes than `most`,
    before anything is unpacked; zipfile gives no process more than that."""
    _check_regular(path)
    with zipfile.ZipFile(path) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > most:
        raise DataError(f"{path} must have {most:,} bytes at most when unpacked, but would have {size:,}")


def shipped(folder: str = "") -> Path:
    """The studies that come with the package, or a folder beside them: within an installed package, or in the
    repository next to it."""
    package = Path(__file__).parent
    return next(path for path in (package / "studies", package.parent / "studies") if path.is_dir()) / folder


def toml_names(folder: Path) -> list[str]:
    """The TOML files in a folder, without their ending."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def toml_text(what: str, folder: Path, name_or_path: str) -> str:
    """The text of a TOML file (`what` it is: "study") that a user gives by its path, or by its name in a folder; a
    UsageError if there is none, or it cannot be read."""
    path, names = Path(name_or_path), toml_names(folder)
    if name_or_path in names and not path.is_file():
        path = folder / f"{name_or_path}.toml"
    try:
        return content_of(path, MAX_TEXT).decode()
    except FileNotFoundError as error:
        near = "".join(f"; did you mean {name}?" for name in get_close_matches(name_or_path, names, 1))
        raise UsageError(
            f"a {what} must be a .toml file or one of {', '.join(names)}, but there is no {name_or_path!r}{near}"
        ) from error
    except (OSError, ValueError, DataError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"a {what} must be a readable file, but {path} is not ({reason})") from error


def tree_of(text: str) -> dict[str, Any]:
    """What a TOML text says; a UsageError if it is none, or holds an integer that is no sensible one."""
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise UsageError("not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # also of numbers with thousands of digits
        raise UsageError(f"not valid TOML: {error}") from error
    if any(abs(number) > MAX_INTEGER for number in _integers(tree)):
        raise UsageError(f"an integer must lie within {MAX_INTEGER:,} of 0, but one does not")
    return tree


def _integers(tree: Any) -> Iterator[int]:
    if isinstance(tree, dict | list):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _integers(each)
    elif isinstance(tree, int):
        yield tree
