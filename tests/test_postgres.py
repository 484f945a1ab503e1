"""The PostgreSQL that the tool starts itself: what an earlier process or another machine left behind."""

import json
import os

import pytest

from mer_search.errors import StorageError
from mer_search.search.postgres import _forget_the_dead, start

DEAD = 2**22 + 1  # above the largest process id of Linux


def test_processes_that_were_killed_do_not_keep_a_server_and_a_foreign_process_is_none(tmp_path):
    pytest.importorskip("pgserver")
    (tmp_path / ".handle_pids.json").write_text(json.dumps([DEAD, os.getpid()]))
    for left in (DEAD, os.getpid()):
        (tmp_path / "postmaster.pid").write_text(f"{left}\n{tmp_path}\n")
        _forget_the_dead(tmp_path)
        assert not (tmp_path / "postmaster.pid").exists()
    assert json.loads((tmp_path / ".handle_pids.json").read_text()) == [os.getpid()]


def test_a_database_that_another_machine_has_open_is_not_touched(tmp_path):
    pytest.importorskip("pgserver")
    folder = tmp_path / "postgres"
    folder.mkdir()
    (folder / "postmaster.pid").write_text("1\n")
    folder.with_name("postgres.machine").write_text("elsewhere")
    with pytest.raises(StorageError, match="must be used on one machine, but elsewhere has it open"):
        start(folder, create=True)
    assert [path.name for path in folder.iterdir()] == ["postmaster.pid"]
