"""Who works on which trial or fold, so that workers that share them lose none and train none twice.

A worker holds a PostgreSQL advisory lock on its trial for as long as it works on it, and the server frees the locks of
a connection that has ended. So a trial that is running while nobody holds it is a lost worker's: that of a killed
process is known at once, that of a machine that is gone after a minute. (Optuna's heartbeats work with Study.optimize
alone, wait for two intervals, and take the trial of a worker that was merely slow.)

An sqlite storage has one process (see storage.only_writer): there, whatever is running is a lost process's.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mer_search.errors import StorageError, UnreachableError

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
FORETOLD = "foretold_by"  # attribute of a trial that was not tried (see fits)
LOOK_AGAIN = 0.5  # seconds, while the last trials are others'
PATIENCE = 600.0  # seconds that a run waits for a database that does not answer
ASK_AGAIN = 1.0  # seconds between two questions whether it does
TRIAL, TURN, FOLD = 0x6D657201, 0x6D657202, 0x6D657203  # classes of our advisory locks: "mer" and a number
Fold = tuple[int, str]  # seed and subject
UNREACHABLE = (StorageInternalError, SQLAlchemyError)
SETTINGS = {  # of the connection that holds the locks: a machine that is gone is given up after a minute
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_session_timeout": "0",
}


@contextmanager
def reachable() -> Iterator[None]:
    """A StorageError for whatever is raised when the database cannot be reached any more.

    Ctrl-C within a statement may come out as an error of the database's; it is still Ctrl-C.
    """
    try:
        yield
    except UNREACHABLE as error:
        if any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error)):
            raise KeyboardInterrupt from error
        reason = str(getattr(error, "orig", None) or error.__cause__ or error).splitlines()[0]
        raise (UnreachableError if _lost(error) else StorageError)(
            f"the storage must stay reachable, but is not ({reason}); the same command goes on from here"
        ) from error


def _lost(error: BaseException) -> bool:
    """Whether an error is that of a connection, and not of what was asked for."""
    return any(
        isinstance(cause, DBAPIError) and (cause.connection_invalidated or cause.statement is None)
        for cause in (error, *_causes(error))
    )


def persist(storage: BaseStorage, work: Callable[[], None], waiting: Callable[[], None]) -> None:
    """Do the work; if a PostgreSQL is lost on the way, wait for it, and do the work again: it goes on where it was.

    Args:
        storage: what the work needs.
        work: what may be done again.
        waiting: is called when the wait begins.

    Raises:
        UnreachableError: after ten minutes without an answer, or of another database at once.
    """
    while True:
        try:
            with reachable():
                return work()
        except UnreachableError:
            engine = _postgres(storage)
            if engine is None:
                raise
            waiting()
            deadline = time.monotonic() + PATIENCE
            while not _answers(engine):
                if time.monotonic() > deadline:
                    raise
                time.sleep(ASK_AGAIN)


def _answers(engine: sqlalchemy.Engine) -> bool:
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an error came from, the nearest first."""
    while before := error.__cause__ or error.__context__:
        yield before
        error = before


def ended(study: optuna.Study) -> int:
    """How many trials have a result, or cannot have one; those aside that were not worth trying."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state in ENDED and FORETOLD not in trial.user_attrs for trial in trials)


class Claims:
    """The claims of a process that is alone with its storage."""

    shared = False  # whether others may work on the same study

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While it lasts, no other worker takes its turn."""
        yield

    def held(self) -> set[int]:
        """Ids of the trials that somebody works on."""
        return set()

    def take(self, trial_id: int) -> None:
        """Claim a trial."""

    def drop(self, trial_id: int) -> None:
        """Give a claim up."""

    def check(self, trial_id: int) -> None:
        """Raise UnreachableError if a trial is not ours any more."""

    @contextmanager
    def ours(self, trial_id: int) -> Iterator[None]:
        """When a fold of a trial is to be written: nobody else must have taken it up meanwhile."""
        self.check(trial_id)
        yield

    @contextmanager
    def folds(self, keys: Sequence[Fold], most: int) -> Iterator[Sequence[Fold]]:
        """Those of the folds that nobody else trains, at most so many: ours while it lasts. Who is alone has all."""
        yield keys

    def free(self, study: optuna.Study) -> None:
        """In our turn: let the trials of lost workers wait to be taken up under their own numbers."""
        held = self.held()  # before the states, for a trial may end meanwhile
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial._trial_id not in held:
                with suppress(UpdateFinishedTrialError):
                    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def ask(
        self, study: optuna.Study, wanted: int, suggest: Callable[[Trial], dict[str, Any]]
    ) -> tuple[Trial, dict[str, Any]] | None:
        """The next trial and its values; None once `wanted` have ended.

        Values are chosen in our turn, so each worker knows what the others are trying. While the trials that are
        running are enough, wait for their ends: one may fail, or its worker be lost.
        """
        while True:
            with self.turn():
                self.free(study)
                running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
                done = ended(study)
                if done >= wanted:
                    return None
                if done + running < wanted:
                    trial = study.ask()
                    self.take(trial._trial_id)
                    return trial, suggest(trial)
            time.sleep(LOOK_AGAIN)


class PostgresClaims(Claims):
    """Claims that others see: advisory locks of a connection that is held until the end."""

    shared = True

    def __init__(self, engine: sqlalchemy.Engine, name: str) -> None:
        with reachable():
            self.connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self.connection.detach()  # closed at the end, not handed to the next user with its locks
        self.name = name
        for setting, value in SETTINGS.items():  # those that this server has
            self._do(
                "SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :setting",
                setting=setting,
                value=value,
            )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.connection.close()

    def _do(self, statement: str, **values: str | int) -> list[Any]:
        with reachable():
            return [row[0] for row in self.connection.execute(sqlalchemy.text(statement), values)]

    @contextmanager
    def turn(self) -> Iterator[None]:
        self._do("SELECT pg_advisory_lock(CAST(:kind AS int), hashtext(:name))", kind=TURN, name=self.name)
        try:
            yield
        finally:
            self._do("SELECT pg_advisory_unlock(CAST(:kind AS int), hashtext(:name))", kind=TURN, name=self.name)

    def held(self) -> set[int]:
        return set(
            self._do(
                "SELECT CAST(objid AS int) FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = :kind "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                kind=TRIAL,
            )
        )

    def take(self, trial_id: int) -> None:
        self._do("SELECT pg_advisory_lock(CAST(:kind AS int), CAST(:id AS int))", kind=TRIAL, id=trial_id)

    def drop(self, trial_id: int) -> None:
        self._do("SELECT pg_advisory_unlock(CAST(:kind AS int), CAST(:id AS int))", kind=TRIAL, id=trial_id)

    @contextmanager
    def folds(self, keys: Sequence[Fold], most: int) -> Iterator[Sequence[Fold]]:
        mine: list[Fold] = []
        try:
            for key in keys:
                if len(mine) < most and self._fold("pg_try_advisory_lock", key):
                    mine.append(key)
            yield mine
        finally:
            for key in mine:
                self._fold("pg_advisory_unlock", key)

    def _fold(self, function: str, key: Fold) -> bool:
        statement = f"SELECT {function}(CAST(:kind AS int), hashtext(:name))"
        return bool(self._do(statement, kind=FOLD, name=f"{self.name}/{key}")[0])

    def check(self, trial_id: int) -> None:
        mine = self._do(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = :kind AND objid = :id "
            "AND pid = pg_backend_pid()",
            kind=TRIAL,
            id=trial_id,
        )
        if not mine:
            raise UnreachableError(
                "a worker must keep its connection to the storage, but lost it, and its trial is another's now; "
                "the same command joins the study again"
            )


def open_claims(storage: BaseStorage, name: str) -> Claims:
    """Claims on the trials of the study `name`, or on the folds of a confirmation of that name."""
    engine = _postgres(storage)
    return Claims() if engine is None else PostgresClaims(engine, name)


def _postgres(storage: BaseStorage) -> sqlalchemy.Engine | None:
    """The engine of a PostgreSQL storage; None of another's."""
    database: Any = getattr(storage, "_backend", storage)  # a study's storage is a cache before it
    engine: sqlalchemy.Engine | None = getattr(database, "engine", None)  # None of a storage in memory
    return engine if engine is not None and engine.name == "postgresql" else None


def failed_last(study: optuna.Study, known: set[int]) -> list[FrozenTrial]:
    """The latest trials, by their numbers, that ended without a result, whoever ran them; those `known` aside.

    Not by their times: clocks are set, and differ between machines.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    failed: list[FrozenTrial] = []
    for trial in reversed(trials):
        if trial.state != TrialState.FAIL or trial.number in known:
            break
        failed.insert(0, trial)
    return failed
