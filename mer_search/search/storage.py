"""The Optuna storage: opening it, finding a study and its trials in it, and keeping a second writer out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from functools import lru_cache
from math import fsum
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import ArgumentError

from mer_search.errors import DataError, StorageError, UsageError
from mer_search.files import STORAGE, disk
from mer_search.search.optuna_internals import studies_by_age

BACKENDS = ("sqlite", "postgresql", "mysql")
INSTALL = {"postgresql": "pip install 'psycopg[binary]'", "mysql": "pip install pymysql"}
CONNECT = 10  # seconds, also where a port is open but nothing answers
LIBPQ = {
    "connect_timeout": CONNECT,
    "keepalives_idle": 30,  # seconds; with the next two, a machine that is gone is given up after a minute
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds, the same for what was sent
}
LETTERS = 60  # of a study's name
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
FINALS = "finals"  # attribute of a study: trial -> UF1 with each further seed (see finals)
FINALS_OVER = "finals_over"  # attribute of a study: whether no finals are to come
NOT_COUNTED = "not_counted"  # attribute of a study: classes of which its subjects have no clip
TAKEN_FROM = "taken_from"  # attribute of a study: that whose trials it began with, and their numbers
NOT_TRIED = "foretold_by"  # attribute of a trial that was not tried (see memory_limit)


def open_storage(url: str, create: bool = False) -> RDBStorage:
    """The storage at `url`, as SQLAlchemy spells it; a file, and Optuna's tables, are made only if `create`. UsageError
    if it is no URL of such a database, or its driver is not installed, StorageError if it cannot be opened."""
    check_url(url)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what a user should know, the commands say
    driver, _, place = url.partition("://")
    settings = _connection(driver, place)
    try:
        if not create and (found := _no_study(url, settings)):
            raise StorageError(
                f"{shown(url)} must hold a study, but {found}; `mer-search run --study NAME` makes one, or give "
                "--storage"
            )
        return RDBStorage(url, engine_kwargs=settings)
    except StorageError:
        raise
    except ImportError as error:
        install = INSTALL.get(driver.partition("+")[0], "")
        raise UsageError(f"{shown(url)} needs a driver that is not installed; {install}") from error
    except Exception as error:  # drivers, SQLAlchemy, alembic and Optuna each have their own
        if "optuna storage upgrade" in str(error):
            raise StorageError(f"{shown(url)} was made by another version of Optuna: {_reason(error)}") from error
        raise StorageError(
            f"the storage {shown(url)} must be a database that can be opened, but is not ({_reason(error)}); "
            "check the URL and that its folder exists and is writable"
        ) from error


def _no_study(url: str, settings: dict[str, Any]) -> str:
    """Why there can be no study: opening the database would make its file, or Optuna's tables; "" if there can be."""
    if (file := _sqlite_file(url)) and not file.exists():
        return "there is no such file"
    engine = create_engine(url, **settings)
    try:
        tables = inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if "studies" in tables:
        return ""
    return f"has other tables ({', '.join(tables[:3])})" if tables else "is empty"


def check_url(url: str) -> None:
    """Raise UsageError unless this can be the URL of a database that Optuna uses, StorageError without its folder."""
    driver, _, place = str(url).partition("://")
    if driver.partition("+")[0] not in BACKENDS or not place.strip("/"):
        raise UsageError(
            f"a storage must be a URL such as {STORAGE} or postgresql+psycopg://user:password@host/database, "
            f"but got {shown(str(url))!r}"
        )
    if place.partition("/")[0].count("@") > 1:  # a part of the password, which the driver's message would show
        raise UsageError(f"an @ in a password must be written %40, and the URL is {shown(url)!r}")
    file = _sqlite_file(url)
    if file and (file.is_dir() or not file.absolute().parent.is_dir()):
        found = "a folder" if file.is_dir() else "in none"
        raise StorageError(f"a database must be a file in a folder that exists, but {file} is {found}; correct {url}")


def _connection(driver: str, place: str) -> dict[str, Any]:
    """How a server is connected to: one that does not answer, or is gone, is given up in time."""
    settings = LIBPQ if driver in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2") else {}
    if driver.startswith("mysql"):
        settings = {"connect_timeout": CONNECT}
    own = {key: value for key, value in settings.items() if f"{key}=" not in place}
    return {"connect_args": own, "pool_pre_ping": True} if own else {}


def _reason(error: BaseException) -> str:
    """A driver's words in one line, without what SQLAlchemy and Optuna add."""
    return str(getattr(error, "orig", None) or error.__cause__ or error).splitlines()[0]


@contextmanager
def reachable() -> Iterator[None]:
    """A StorageError for whatever is raised when the database cannot be reached any more."""
    try:
        yield
    except StorageInternalError as error:
        raise StorageError(
            f"the storage must stay reachable, but is not ({_reason(error.__cause__ or error)}); once it is there "
            "again, the same command goes on from here"
        ) from error


def _sqlite_file(url: str) -> Path | None:
    """The file of an sqlite storage; None of another's."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    name = parsed.database or ""
    if "uri" in parsed.query:
        name = name.removeprefix("file:")
    return Path(name) if parsed.get_backend_name() == "sqlite" and name not in ("", ":memory:") else None


def check_name(name: str) -> str:
    """A study's name, which is also that of its folder; UsageError if it would lead out of the folder for results, or
    cannot be printed."""
    if not 0 < len(name) <= LETTERS or "/" in name or name.startswith((".", "-")) or not name.isprintable():
        raise UsageError(
            f"a study's name must be one to {LETTERS} printable letters without / that begin with neither . nor -, for "
            f"it names a folder, but got {name!a}; give another --study-name"
        )
    return name


def shown(url: str) -> str:
    """A URL without its password, even if it is no URL."""
    return re.sub(r"(?<=password=)[^&]*", "***", re.sub(r"(?s)^([\w+.-]+://)?+(.*?):.*@", r"\1\2:***@", url))


def find_study(storage: BaseStorage, name: str | None) -> optuna.Study:
    """The study of that name, without a name the one that was made last, of those that this program made; UsageError,
    with the names that there are, if there is none."""
    every = studies_by_age(storage)
    known = [each for each, attributes in every.items() if is_ours(attributes)]
    if not known or (name is not None and name not in known):
        others = [each for each in every if each not in known]
        found = f"it holds {', '.join(known) or 'none'}"
        if others:
            were = "was" if len(others) == 1 else "were"
            found += f"; {', '.join(others)} {were} not made by mer-search, or not to the end"
        near = get_close_matches(name or "", known, 1)
        advice = f"did you mean {near[0]}?" if near else "`mer-search run --study NAME` makes one"
        raise UsageError(f"the storage must hold {f'study {name!r}' if name else 'a study'}, but {found}; {advice}")
    return optuna.load_study(study_name=name or known[-1], storage=storage)


def is_ours(attributes: Mapping[str, Any]) -> bool:
    """Whether a study with these attributes was made by this program, to the end: its mark comes last."""
    return "mark" in attributes


def find_trial(study: optuna.Study, number: int | None) -> FrozenTrial:
    """The finished trial of that number, without a number the best; UsageError if there is none."""
    if number is None:
        if (best := best_trial(study)) is None:
            raise UsageError(f"study {study.study_name!r} must have a finished trial, but has none; run it first")
        return best
    trials = study.get_trials(deepcopy=False)
    have = f"0 to {len(trials) - 1}" if trials else "none"
    found = trials[number].state.name.lower() if 0 <= number < len(trials) else f"none of them ({have})"
    if found != "complete":
        raise UsageError(
            f"a trial must be a finished one of study {study.study_name!r}, but {number} is {found}; "
            "`mer-search status` lists them"
        )
    return trials[number]


def is_stopped(trial: FrozenTrial) -> bool:
    """Whether the pruner stopped a trial early: its value is an estimate, not a score."""
    return trial.state == TrialState.COMPLETE and "stopped_after" in trial.user_attrs


def was_evaluated(trial: FrozenTrial) -> bool:
    """Whether a trial has a value that was found here, and was not added by hand."""
    return trial.state == TrialState.COMPLETE and "fold_epochs" in trial.user_attrs


def ran_to_its_end(trial: FrozenTrial) -> bool:
    """Whether a trial scored all of the study's subjects, so that it has a fold of each; one that was stopped early has
    only an estimate."""
    return was_evaluated(trial) and "stopped_after" not in trial.user_attrs


def score(trial: FrozenTrial) -> float:
    """A finished trial's UF1, whatever else is minimised beside it."""
    return float(trial.values[0])


class _Same:
    """A trial that has ended, as a key of a dict: Optuna gives the same object whenever no copy is asked for."""

    __slots__ = ("trial",)

    def __init__(self, trial: FrozenTrial) -> None:
        self.trial = trial

    def __hash__(self) -> int:
        return id(self.trial)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.trial is other.trial


@lru_cache(2**15)
def _scored(of: _Same) -> tuple[frozenset[tuple[str, Any]], float] | None:
    """The values of a trial that ran to its end, and its score; None of another. That is found once, and not again for
    each trial that comes later."""
    return (frozenset(of.trial.params.items()), score(of.trial)) if ran_to_its_end(of.trial) else None


def ranked(trials: Sequence[FrozenTrial], finals: Mapping[str, Sequence[float]]) -> list[FrozenTrial]:
    """Of the trials those that ran to their end, the best first: of those with as many seeds in `finals` by the mean
    over their own and these, those with more before, for only means over the same seeds can be compared.

    A configuration that was tried again, with another seed, counts once, without finals with the mean over its trials;
    its first one stands for it.
    """
    found: dict[frozenset[tuple[str, Any]], tuple[FrozenTrial, list[float]]] = {}
    for trial in trials:
        if trial.state.is_finished() and (scored := _scored(_Same(trial))):
            configuration, uf1 = scored
            found.setdefault(configuration, (trial, []))[1].append(uf1)

    def standing(configuration: tuple[FrozenTrial, list[float]]) -> tuple[int, float]:
        first, scores = configuration
        if further := finals.get(str(first.number), ()):
            scores = [scores[0], *further]
        return len(further), fsum(scores) / len(scores)

    return [trial for trial, _ in sorted(found.values(), key=standing, reverse=True)]


def final_scores(study: optuna.Study, trial: FrozenTrial) -> list[float]:
    """A finalist's UF1 with its own and each further seed; [] of any other trial."""
    further = study.user_attrs.get(FINALS, {}).get(str(trial.number))
    return [score(trial), *further] if further else []


def finals_over(study: optuna.Study) -> bool:
    """Whether no finals are to come, or to be gone on with."""
    return bool(study.user_attrs.get(FINALS_OVER, True))


def ranked_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The study's trials that ran to their end, the best first: see `ranked`."""
    return ranked(study.get_trials(deepcopy=False), study.user_attrs.get(FINALS, {}))


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The study's best trial; None while there is none."""
    return next(iter(ranked_trials(study)), None)


def has_ended(trial: FrozenTrial) -> bool:
    """Whether a trial has a result, or cannot have one, and was worth trying."""
    return trial.state in ENDED and NOT_TRIED not in trial.user_attrs


def ended(study: optuna.Study) -> int:
    """How many of its trials have ended."""
    return sum(map(has_ended, study.get_trials(deepcopy=False)))


def results(study: optuna.Study) -> Path:
    """The study's results folder; DataError if it is not there."""
    out = Path(study.user_attrs["out"])
    if not out.is_dir():
        raise DataError(
            f"study {study.study_name!r} must have its results in {out}, but there is no such folder; if it was moved, "
            "`mer-search run` with the --out where it is now tells the study"
        )
    return out


@contextmanager
def only_writer(url: str, folder: Path) -> Iterator[RDBStorage]:
    """The storage, and a study's results folder, held for writing: two writers of an sqlite file lose trials."""
    check_url(url)  # before the lock, which would make the folder
    file = _sqlite_file(url)
    with held(file, "--storage") if file else nullcontext():
        storage = open_storage(url, create=True)  # before a folder is made for results
        with held(folder):
            yield storage


def check_free(url: str) -> None:
    """Raise StorageError if another process holds the file of an sqlite storage: before clips are read."""
    if (file := _sqlite_file(url)) and file.exists():
        with held(file, "--storage"):
            pass


@contextmanager
def held(path: Path, option: str = "--out") -> Iterator[None]:
    """Hold the lock beside a database's file or a folder of folds; StorageError if another process holds it."""
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=0)
    with disk(Path(lock.lock_file)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise StorageError(
                f"{path} must have one mer-search that writes to it, but another holds it; wait for its end, or give "
                f"another {option}"
            ) from None
    try:
        yield
    finally:
        lock.release()
