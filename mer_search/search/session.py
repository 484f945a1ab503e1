"""A search as one call makes it: its study, opened for this process alone, and where its folds are trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import optuna

from mer_search.data import Folder
from mer_search.engine.executor import Executor
from mer_search.engine.where import Where
from mer_search.search.cost import Cost, search_cost
from mer_search.search.finals import Final, run_finals
from mer_search.search.scheduler import Scheduler
from mer_search.search.study import Event, hold_study, in_flight_of, run, slots_of
from mer_search.search.trial import Search
from mer_search.search.workspace import Progress, silent


@dataclass(frozen=True)
class Session:
    """A search that this process runs."""

    search: Search
    study: optuna.Study
    executor: Executor
    scheduler: Scheduler

    def cost(self, trials: int, progress: Progress = silent) -> Cost:
        """What is still to be trained until there are so many trials, at most."""
        return search_cost(self.search, self.study, self.executor, trials, self.scheduler.in_flight, progress)

    def events(self, trials: int, progress: Progress = silent) -> Iterator[Event | Final]:
        """Run trials until there are so many of them in all, then the finals; yield what happens."""
        finals = Scheduler(self.executor, self.scheduler.in_flight)
        trained = run(self.search, self.study, self.scheduler, trials, progress)
        return chain(trained, run_finals(self.search, self.study, finals, progress))


@contextmanager
def open_session(
    search: Search,
    storage: str,
    study_name: str,
    where: Where,
    in_flight: int | None = None,
    source: optuna.Study | None = None,
) -> Iterator[Session]:
    """A search's study in a storage, new or resumed, with an executor; while it lasts, no other process may run it.

    Args:
        search: the search.
        storage: URL.
        study_name: of the study in the storage.
        where: folds are trained.
        in_flight: how many trials are; None for as many as before, else as many as keep the slots busy.
        source: a study whose trials a new one begins with, as far as its space contains them.

    Raises:
        StorageError: if the study was made with another space, data, subjects or seed, or another process runs it.
    """
    with (
        hold_study(search, storage, study_name, source) as study,
        replace(where, slots=slots_of(study, where.slots)).open(search.loaded.run) as executor,
    ):
        together = in_flight_of(study, in_flight, executor.slots)
        yield Session(search, study, executor, Scheduler(executor, together))


def default_study(folder: Folder, device: str) -> tuple[str, str]:
    """The study that suits the data and the device, and why."""
    if folder.dataset.flow_images:
        return "megc2019", "the data are flow images"
    return ("default", "there is a GPU") if device == "cuda" else ("demo", "there is no GPU")
