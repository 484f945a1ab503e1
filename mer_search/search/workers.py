"""What several workers do on one machine: the trials of a study, or the folds of confirmations, through a PostgreSQL.

Whoever dies loses nothing but what it was at: a trial goes on, under its own number, with whoever asks next; a fold is
trained by whoever finds it missing.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import optuna

from mer_search.errors import StorageError, UnreachableError
from mer_search.model.network import step_flop
from mer_search.search.claims import open_claims, persist, reachable
from mer_search.search.confirm import Confirmation, confirm
from mer_search.search.cost import NOTHING, Cost, confirmation_costs
from mer_search.search.crew import Place, employ, places
from mer_search.search.storage import best_trial, only_trainer, open_storage
from mer_search.search.study import Search, Watcher, open_study, run
from mer_search.search.workspace import Progress
from mer_search.training.pool import Pool, open_pool
from mer_search.training.predictions import Predictions


class Job(NamedTuple):
    """A search, wherever a worker is."""

    search: Search
    url: str
    name: str
    trials: int
    watcher: Watcher  # is sent to the worker, and told of the trials' results there


def run_workers(
    job: Job, study: optuna.Study, where: Sequence[Place], live: Watcher, say: Callable[[str], None]
) -> None:
    """Trials until the study has its number of them in all, whoever runs them.

    Args:
        job: for the workers.
        study: the same study, to look at.
        where: a place for each worker.
        live: is told of every trial that ends.
        say: is told, in one line, of a worker that died.

    Raises:
        MerSearchError: what ended a worker, or after too many that died.
    """
    seen = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}

    def look() -> None:
        try:
            with reachable():
                _tell(study, seen, live)
        except UnreachableError:  # the workers wait for it
            live.waiting()

    try:
        employ(partial(_search, job), where, look, say, job.search.out)
    finally:
        with suppress(StorageError), open_claims(study._storage, study.study_name) as claims, claims.turn():
            claims.free(study)


def _search(job: Job, device: str) -> None:
    with reachable():
        study = open_study(job.search, open_storage(job.url), job.name)
    with open_pool(job.search.loaded.run, device) as pool:
        run(job.search, study, pool, job.trials, job.watcher)


def _tell(study: optuna.Study, seen: set[int], live: Watcher) -> None:
    """Show the trials that have ended since the last look."""
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    if new := [trial for trial in ended if trial.number not in seen]:
        best = best_trial(study)  # may find no database; then they are new at the next look too
        for trial in new:
            seen.add(trial.number)
            live.told(trial, best)


Announce = Callable[[Sequence[Confirmation], Sequence[Cost], int], None]  # what is to be trained, so many side by side


class Crew(NamedTuple):
    """Who trains the folds of confirmations: as a rule, this process alone."""

    size: int = 1  # workers on this machine; for 1, this process
    url: str = ""  # of a PostgreSQL, through which others may join
    say: Callable[[str], None] = print  # is told, in one line, of a worker that died


ALONE = Crew()


def confirm_all(
    jobs: Sequence[Confirmation], device: str, progress: Progress, announce: Announce, crew: Crew = ALONE
) -> list[list[Predictions]]:
    """The folds of every confirmation; those that are not on disk yet are trained, after their cost was announced.

    Args:
        jobs: one that stands there twice is trained once.
        device: "cpu" or "cuda".
        progress: told of every fold.
        announce: told of the cost.
        crew: who trains them.
    """
    if not any(job.missing for job in jobs):
        announce(jobs, [NOTHING] * len(jobs), crew.size)
        return [job.folds for job in jobs]
    with ExitStack() as stack:
        for store in sorted({job.store for job in jobs}):
            stack.enter_context(only_trainer(store, shared=bool(crew.url)))
        with _pool_for(jobs, device) as pool:
            costs = confirmation_costs(jobs, pool)
            announce(jobs, costs, pool.size if crew.size == 1 else crew.size)
            if crew.size == 1:
                _persistently(jobs, pool, progress, crew.url)
        if crew.size > 1 and any(cost.folds for cost in costs):
            look = partial(_count, {job.store: len(job.missing) for job in jobs}, jobs, progress)
            employ(partial(_confirm, jobs, crew.url), places(device, crew.size), look, crew.say, jobs[0].store)
    return [job.folds for job in jobs]


def _confirm(jobs: Sequence[Confirmation], url: str, device: str) -> None:
    with _pool_for(jobs, device) as pool:
        _persistently(jobs, pool, lambda what, done, total: None, url)


def _pool_for(jobs: Sequence[Confirmation], device: str) -> Pool:
    largest = max((job.loaded.run for job in jobs), key=step_flop)
    return open_pool(largest, device, exact=True)


def _persistently(jobs: Sequence[Confirmation], pool: Pool, progress: Progress, url: str) -> None:
    """Train folds, alone or with others through a PostgreSQL, which may be away for a while."""
    if not url:
        confirm(jobs, pool, progress)
        return
    storage = open_storage(url)
    persist(storage, lambda: confirm(jobs, pool, progress, partial(open_claims, storage)), lambda: None)


def _count(left: dict[Path, int], jobs: Sequence[Confirmation], progress: Progress) -> None:
    """Show the folds that came onto the disk since the last look."""
    for job in jobs:
        before, left[job.store] = left[job.store], len(job.missing)
        for missing in reversed(range(left[job.store], before)):
            progress(f"{job.target.title}: folds", len(job.wanted) - missing, len(job.wanted))
