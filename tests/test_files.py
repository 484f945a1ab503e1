"""Files that are whole or absent."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small import fill

from mer_search import files
from mer_search.errors import DiskError, UsageError
from mer_search.files import sweep, write_whole


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_call_returns(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, Path.replace

    def synced(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        done.append("the file" if path.suffix == ".partial" else path.name)
        fsync(descriptor)

    def replaced(path, target):
        done.append("its name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_whole(tmp_path / "new" / "folder" / "file", "whole")
    assert done == [tmp_path.name, "new", "the file", "its name", "folder"]
    assert (tmp_path / "new" / "folder" / "file").read_text() == "whole"


def test_a_file_system_whose_folders_cannot_be_synced_is_used_as_it_is(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(files.errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_whole(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"


WRITER = """
import os, sys
from pathlib import Path
from mer_search.files import write_whole
os.fsync = lambda descriptor: (print("written", flush=True), input())
write_whole(Path(sys.argv[1]), "new")
"""


def test_a_writer_that_is_killed_leaves_the_old_file_and_its_temporary_is_swept_away(tmp_path):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "file.npz"
    path.write_text("old")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdin=-1, stdout=-1)
    assert writer.stdout.readline() == b"written\n"
    sweep(tmp_path)
    assert len(list(path.parent.iterdir())) == 2  # who is alive is left alone
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    odd = path.with_name(f".file.{files.HOST}-{'9' * 20}.partial")  # no process has that number
    odd.touch()
    sweep(tmp_path)
    odd.unlink()
    assert list(path.parent.iterdir()) == [path]
    assert path.read_text() == "old"


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with pytest.raises(UsageError, match=f"in the place of the folder {re.escape(str(tmp_path))}; name another"):
        write_whole(tmp_path, "x")


def test_a_full_disk_is_one_line_and_leaves_the_old_file(small_disk):
    path = small_disk(100_000) / "file"
    write_whole(path, "old")
    fill(path.parent)
    with pytest.raises(
        DiskError, match=r"file must be usable, but is not \(No space left on device\); make room"
    ) as caught:
        write_whole(path, "x" * 60_000)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [left.name for left in path.parent.glob(".*")] == []


def test_a_folder_that_cannot_be_written_is_one_line(small_disk):
    folder = small_disk(100_000)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    with pytest.raises(DiskError, match=r"deep/file must be usable, but is not \(Read-only file system\)"):
        write_whole(folder / "deep" / "file", "new")
