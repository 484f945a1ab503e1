"""Fixtures of all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and so do the processes that they start

import shutil
import sqlite3
import subprocess
from itertools import count
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from click.testing import CliRunner
from optuna.storages._rdb.storage import _VersionManager
from small import STUDY, TINY, drive, made_by, share, write_casme2, write_flow_images
from sqlalchemy import Engine, event

from mer_search import cli
from mer_search.config import Run, with_values
from mer_search.engine.local import LocalExecutor
from mer_search.report import figures
from mer_search.search import space
from mer_search.search.storage import open_storage
from mer_search.search.study import open_study
from mer_search.search.trial import Search
from mer_search.search.workspace import Loaded, load_data, silent

os.fsync = lambda descriptor: None  # no test cuts the power
CACHES = count()
CONTENT = figures._content
READ_VERSIONS, VERSIONS = _VersionManager._create_alembic_script, []


def _versions(manager):
    """Those that Optuna's tables have had, for which it reads a dozen files whenever it opens a database."""
    VERSIONS[:] = VERSIONS or [READ_VERSIONS(manager)]
    return VERSIONS[0]


_VersionManager._create_alembic_script = _versions


@event.listens_for(Engine, "connect")
def _no_waiting_for_the_disk(connection, _):
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(autouse=True)
def _same_draws():
    """No test passes or fails by the draws of the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / f"cache-{next(CACHES)}"))
    monkeypatch.delenv("MER_SEARCH_DATA", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _one_drawing():
    """Of all figures for papers the first is drawn, and stands for the others: drawing them takes most of the time."""
    drawn = {}

    def first(figure, kind):
        if kind == "svg":
            return CONTENT(figure, kind)
        if kind not in drawn:
            drawn[kind] = CONTENT(figure, kind)
        return drawn[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_content", first)
        yield


@pytest.fixture
def every_drawing(monkeypatch):
    """Each figure is drawn for itself."""
    monkeypatch.setattr(figures, "_content", CONTENT)


@pytest.fixture
def tiny() -> Run:
    return with_values(Run(), TINY)


@pytest.fixture(scope="session")
def tiny_clips(tmp_path_factory):
    """A function (values) -> 16 clips of four subjects, loaded for the tiny run with these values."""
    root = tmp_path_factory.mktemp("clips")
    write_casme2(root / "data")

    def load(values=MappingProxyType({})) -> Loaded:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
            return load_data(root / "data", with_values(Run(), TINY | values), silent)

    return load


@pytest.fixture
def flow_folder(tmp_path) -> Path:
    """Flow images of four subjects, 24 clips, in a folder of their own."""
    write_flow_images(tmp_path / "flow")
    return tmp_path / "flow"


@pytest.fixture
def make_search(flow_folder, tmp_path):
    """A function (study text) -> Search on the flow images."""

    def make(text: str = STUDY, seed: int = 0) -> Search:
        file = space.parse(text, "small")
        loaded = load_data(flow_folder, file.base, silent)
        return Search(file, loaded, loaded.select(file.subjects), seed, tmp_path / "runs" / "small")

    return make


@pytest.fixture(scope="session")
def executor():
    """Two slots, for all tests together."""
    with LocalExecutor("cpu", 2) as started:
        yield started


@pytest.fixture
def begin(make_search, storage, executor):
    """A function (study text, trials) -> the Search, and its study with so many trials."""

    def begun(text: str = STUDY, trials: int = 0):
        search = make_search(text)
        study = open_study(search, storage, "small")
        if trials:
            drive(search, study, executor, trials)
        return search, study

    return begun


@pytest.fixture
def everywhere(executor, monkeypatch):
    """Whatever opens an executor gets that one."""
    return share(executor, monkeypatch)


@pytest.fixture(scope="session")
def confirmed_folder(tmp_path_factory, executor):
    """A folder in which two trials were made, and the best was confirmed with two seeds."""
    commands = "run --study small.toml --data flow --trials 2", "confirm --seeds 2 --against none"
    return made_by(commands, tmp_path_factory.mktemp("confirmed"), executor)


@pytest.fixture
def storage(tmp_path):
    return open_storage(f"sqlite:///{tmp_path}/study.db", create=True)


@pytest.fixture
def small_disk(tmp_path):
    """A function (bytes) -> a folder that is a disk of that size; skipped where none may be mounted."""
    mounted = []

    def make(size: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small disk needs the right to mount one")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def mer_search(tmp_path, monkeypatch, everywhere):
    """A function that runs the program in an empty folder, with the executor that all tests share."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.main, [str(a) for a in arguments])
