"""A PostgreSQL of our own in a folder, for workers on one machine: started when a command needs it, stopped after."""

import json
import logging
import shutil
import socket
import warnings
from pathlib import Path

from filelock import FileLock

from mer_search.errors import StorageError, UsageError

EMBEDDED = "embedded:"  # a storage "embedded:FOLDER"
INSTALL = "pip install 'mer-search[workers]'"


def start(folder: Path, create: bool) -> str:
    """URL of the server whose database is in `folder`; it stops when the last process that called this ends.

    Raises:
        UsageError: if pgserver is not installed.
        StorageError: if there is no database and `create` is not given, or another machine has it open.
    """
    if folder == Path():
        raise UsageError(f"a storage {EMBEDDED}FOLDER must name the folder, such as {EMBEDDED}runs/postgres")
    if not create and not folder.is_dir():
        raise StorageError(
            f"{EMBEDDED}{folder} must be a folder with a database, but there is none; "
            "run `mer-search run --workers 2` first, or give its --storage"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where no one is logged in
        try:
            import pgserver
        except ImportError:
            raise UsageError(
                f"workers on one machine need a PostgreSQL: {INSTALL}, or give the --storage of one that runs"
            ) from None
    logging.getLogger("pgserver").setLevel(logging.CRITICAL + 1)
    folder.parent.mkdir(parents=True, exist_ok=True)
    machine, making = (folder.with_name(f"{folder.name}.{what}") for what in ("machine", "making"))
    with FileLock(f"{folder}.lock"):
        here = socket.gethostname()
        if (folder / "postmaster.pid").exists() and machine.exists() and (there := machine.read_text()) != here:
            raise StorageError(
                f"{EMBEDDED}{folder} must be used on one machine, but {there} has it open, and this is {here}; for "
                "several machines give the --storage of a PostgreSQL that all of them reach, or, if "
                f"{there} is gone, delete {folder / 'postmaster.pid'}"
            )
        _forget_the_dead(folder)
        if making.exists():  # by a process that was killed: there is no database yet, and PostgreSQL makes none over it
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            making.touch()
        try:
            server = pgserver.get_server(folder)
        except Exception as error:
            raise StorageError(
                f"PostgreSQL must start in {folder}, but does not ({str(error).splitlines()[0]}); "
                f"{folder / 'log'} says why"
            ) from error
        making.unlink(missing_ok=True)
        machine.write_text(here)
    return str(server.get_uri()).replace("postgresql:", "postgresql+psycopg:", 1)


def _forget_the_dead(folder: Path) -> None:
    """pgserver keeps a server running for processes that were killed, and takes any process for a server that was."""
    import psutil

    users, server = folder / ".handle_pids.json", folder / "postmaster.pid"
    if users.exists():
        try:
            known = json.loads(users.read_text())
        except ValueError:  # one of them was killed while it wrote itself down
            known = []
        users.write_text(json.dumps([pid for pid in known if psutil.pid_exists(pid)]))
    if server.exists():
        try:
            alive = psutil.Process(int(server.read_text().splitlines()[0])).name().startswith("postgres")
        except (psutil.NoSuchProcess, ValueError, IndexError):  # the latter of a file that was cut short
            alive = False
        if not alive:
            server.unlink()
