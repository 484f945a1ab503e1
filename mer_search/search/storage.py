"""The Optuna storage: opening it, finding a study in it, and keeping a second writer out of an sqlite file."""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from mer_search.errors import DataError, StorageError, UsageError
from mer_search.files import disk
from mer_search.search.postgres import EMBEDDED, INSTALL, start

DEFAULT = "sqlite:///mer-search.db"
BACKENDS = ("sqlite", "postgresql")
LIBPQ = ("psycopg", "psycopg2")  # drivers that take the settings below
CONNECTION = {
    "connect_timeout": 10,  # seconds, also where a port is open but nothing answers
    "keepalives_idle": 30,  # seconds; with the next two, a machine that is gone is given up after a minute
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds, the same for what was sent
}
LETTERS = 60  # of a study's name
MAKING = 0x6D657200  # our advisory lock while tables are made; its neighbours are in claims


def open_storage(url: str, create: bool = False) -> RDBStorage:
    """The storage at `url`, an SQLAlchemy URL or embedded:FOLDER; a file or folder is made only if `create`.

    Raises:
        UsageError: if `url` is no URL of such a database, or its driver is not installed.
        StorageError: if the database cannot be opened.
    """
    if url.startswith(EMBEDDED):
        return open_storage(start(Path(url.removeprefix(EMBEDDED)), create), create)
    parsed = _parsed(url)
    if parsed is None or parsed.get_backend_name() not in BACKENDS or not (parsed.database or is_shared(url)):
        raise UsageError(
            f"a storage must be a URL such as {DEFAULT} or postgresql+psycopg://user:password@host/database, "
            f"but got {shown(url)!r}"
        )
    if "@" in (parsed.host or ""):  # a part of the password, which the driver's message would show
        raise UsageError(f"an @ in a password must be written %40, and the URL is {shown(url)!r}")
    if (file := _sqlite_file(url)) and not create and not file.exists():
        workers = f" (that of --workers: {EMBEDDED}runs/postgres)" if Path("runs/postgres").is_dir() else ""
        raise StorageError(
            f"{url} must hold a study, but there is no such file; run `mer-search run` first, or give its "
            f"--storage{workers}"
        )
    try:
        with _only_maker(parsed):
            return RDBStorage(url, engine_kwargs=_engine(parsed))
    except ImportError as error:
        raise UsageError(f"{shown(url)} needs a driver that is not installed: {INSTALL}") from error
    except Exception as error:  # drivers, SQLAlchemy, alembic and Optuna each have their own
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StorageError(
            f"the storage {shown(url)} must be a database that can be opened, but is not ({reason}); "
            "check the URL and that its folder exists and is writable"
        ) from error


def _sqlite_file(url: str) -> Path | None:
    """The file of an sqlite storage, however its URL is spelt; None of another's."""
    parsed = _parsed(url)
    return Path(parsed.database) if parsed and parsed.get_backend_name() == "sqlite" and parsed.database else None


def _parsed(url: str) -> sqlalchemy.URL | None:
    """The URL in its parts; None if it is none."""
    try:
        return sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # the latter of a port that is no number
        return None


def _engine(url: sqlalchemy.URL) -> dict[str, Any]:
    """How a PostgreSQL is connected to: one that does not answer, or is gone, is given up in time."""
    if url.get_driver_name() not in LIBPQ:
        return {}
    own = {key: value for key, value in CONNECTION.items() if key not in url.query}
    return {"connect_args": own, "pool_pre_ping": True}  # a connection that broke while it lay idle is replaced


@contextmanager
def _only_maker(url: sqlalchemy.URL) -> Iterator[None]:
    """While it lasts, no other process makes the tables of a PostgreSQL database: of two at once, one fails."""
    if url.get_backend_name() != "postgresql":
        yield
        return
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **_engine(url)).connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": MAKING})
        yield


def check_name(name: str) -> str:
    """A study's name, which is also that of its folder.

    Raises:
        UsageError: if it would lead out of the folder for results, or cannot be printed.
    """
    if not 0 < len(name) <= LETTERS or "/" in name or name.startswith((".", "-")) or not name.isprintable():
        raise UsageError(
            f"a study's name must be one to {LETTERS} printable letters without / that begin with neither . nor -, for "
            f"it names a folder, but got {name!a}; give another --name"
        )
    return name


def is_shared(url: str) -> bool:
    """Whether several workers may use the storage at once."""
    return url.startswith(("postgresql:", "postgresql+", EMBEDDED))


def shown(url: str) -> str:
    """A URL without its password, even if it is no URL."""
    return re.sub(r"(?<=password=)[^&]*", "***", re.sub(r":(?!//).*@", ":***@", url))


def find_study(storage: BaseStorage, name: str | None) -> optuna.Study:
    """The study of that name; without a name the one that was made last.

    Raises:
        UsageError: if there is none, with the names that there are.
    """
    known = [study.study_name for study in sorted(storage.get_all_studies(), key=lambda study: study._study_id)]
    if not known or (name is not None and name not in known):
        found = f"it holds {', '.join(known)}" if known else "it holds none; run `mer-search run` first"
        raise UsageError(f"the storage must hold {'study ' + repr(name) if name else 'a study'}, but {found}")
    return optuna.load_study(study_name=name or known[-1], storage=storage)


def find_trial(study: optuna.Study, number: int | None) -> optuna.trial.FrozenTrial:
    """The finished trial of that number; without a number the best.

    Raises:
        UsageError: if there is no such trial, or it has no result.
    """
    if number is None:
        if (best := best_trial(study)) is None:
            raise UsageError(f"study {study.study_name!r} must have a finished trial, but has none; run it first")
        return best
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    if number not in trials:
        have = f"0 to {max(trials)}" if trials else "none"
        raise UsageError(f"--trial must be a trial of study {study.study_name!r} ({have}), but got {number}")
    if trials[number].state != TrialState.COMPLETE:
        raise UsageError(
            f"--trial must be a finished trial, but {number} is {trials[number].state.name.lower()}; "
            f"`mer-search status` lists them"
        )
    return trials[number]


def ran_to_its_end(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial scored all of the study's subjects; one that was stopped early has only an estimate."""
    return trial.state == TrialState.COMPLETE and "stopped_after" not in trial.user_attrs


def score(trial: optuna.trial.FrozenTrial) -> float:
    """A finished trial's UF1, whatever else is minimised beside it."""
    return float(trial.values[0])


def ranked_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that ran to their end, the best first.

    A configuration that was tried again, with another seed, counts once, with the mean over its trials; its first one
    stands for it.
    """
    configurations: dict[str, list[optuna.trial.FrozenTrial]] = {}
    for trial in filter(ran_to_its_end, study.get_trials(deepcopy=False)):
        configurations.setdefault(json.dumps(trial.params, sort_keys=True), []).append(trial)
    ranked = sorted(configurations.values(), key=lambda equals: mean(map(score, equals)), reverse=True)
    return [equals[0] for equals in ranked]


def best_trial(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    """The best of the ranked trials; None while there is none."""
    return next(iter(ranked_trials(study)), None)


def results(study: optuna.Study) -> Path:
    """The study's results folder.

    Raises:
        DataError: if it is not there.
    """
    out = Path(study.user_attrs["out"])
    if not out.is_dir():
        raise DataError(
            f"study {study.study_name!r} must have its results in {out}, but there is no such folder; if it was moved, "
            "`mer-search run` with the --out where it is now tells the study"
        )
    return out


@contextmanager
def only_writer(url: str) -> Iterator[None]:
    """Hold the file of an sqlite storage for writing: two writers lose trials.

    Raises:
        StorageError: if another process holds it, or its folder does not exist.
    """
    file = _sqlite_file(url)
    if file is None:
        yield
        return
    if not file.absolute().parent.is_dir():  # which would be made for the lock
        raise StorageError(
            f"a database needs a folder that exists, but {file.parent} does not; make it or correct {url}"
        )
    several = (
        "for several, start one with --workers N, or give each the --storage of a PostgreSQL, postgresql+psycopg://..."
    )
    with held(file, f"{url} must have one writer, but another mer-search run holds it; {several}"):
        yield


@contextmanager
def only_trainer(folder: Path, shared: bool = False) -> Iterator[None]:
    """Hold a folder of folds, or of trials: alone, or with others to whom a PostgreSQL says who trains which.

    Raises:
        StorageError: if another process holds it that does not share.
    """
    refusal = (
        f"{folder} must have one mer-search that trains, but another holds it; wait for its end, or give another --out"
    )
    with held(folder, refusal, shared):
        yield


@contextmanager
def held(path: Path, refusal: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock beside a file or folder, with others if all of them share it; StorageError with this refusal if
    another process's hold does not allow it."""
    lock = path.with_name(f"{path.name}.lock")
    with disk(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    with file:  # closing it frees the lock
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(refusal) from None
        yield
