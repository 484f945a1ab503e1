"""Several workers on one machine: processes that each run the study's trials, through a PostgreSQL that they share.

Every worker has a GPU, or its share of the cores, and a pool of its own there. One that dies is replaced; its trial is
taken up by whoever asks next. A parent that dies takes its workers with it.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import optuna
import torch
import torch.multiprocessing

from mer_search.errors import MerSearchError, StorageError
from mer_search.files import write_whole
from mer_search.search.claims import open_claims, reachable
from mer_search.search.storage import best_trial, open_storage
from mer_search.search.study import Search, Watcher, open_study, run
from mer_search.training.pool import open_pool

REPLACED = 4  # dead workers that are replaced, in one run
LOOK = 0.5  # seconds between two looks at the study


class Place(NamedTuple):
    """Where a worker trains."""

    device: str  # "cpu" or "cuda"
    cores: set[int]
    gpu: str | None  # as CUDA_VISIBLE_DEVICES names it


class Job(NamedTuple):
    """What a worker does, wherever it is."""

    search: Search
    url: str
    name: str
    trials: int
    watcher: Watcher  # is sent to the worker, and told of the trials' results there


def gpus() -> list[str]:
    """The GPUs of this process, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


def places(device: str, workers: int) -> list[Place]:
    """GPUs one after the other; all cores divided among the workers, or one each if they are fewer."""
    cores = sorted(os.sched_getaffinity(0))
    return [
        Place(
            device,
            set(cores[worker::workers]) or {cores[worker % len(cores)]},
            None if device == "cpu" else gpus()[worker % len(gpus())],
        )
        for worker in range(workers)
    ]


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
    crew = {number: _start(job, place) for number, place in enumerate(where)}
    lost = 0
    try:
        with reachable():
            while crew:
                wait([process.sentinel for process, _ in crew.values()], LOOK)
                _tell(study, seen, live)
                for number, (process, connection) in list(crew.items()):
                    if process.is_alive():
                        continue
                    del crew[number]
                    if process.exitcode == 0:
                        continue
                    reason = _reason(process, connection)
                    if (lost := lost + 1) > REPLACED:
                        raise MerSearchError(f"workers must stay alive, but {lost} died, the last one: {reason}")
                    say(f"worker {number} died ({reason}); another takes its place")
                    crew[number] = _start(job, where[number])
            _tell(study, seen, live)
    finally:
        for process, _ in crew.values():
            process.kill()  # nothing is lost: what a worker writes, it writes whole
            process.join()
        with suppress(StorageError), open_claims(study._storage, study.study_name) as claims, claims.turn():
            claims.free(study)


def _tell(study: optuna.Study, seen: set[int], live: Watcher) -> None:
    """Show the trials that have ended since the last look, in the order of their ends."""
    trials = study.get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.is_finished() and trial.number not in seen]
    for trial in sorted(ended, key=lambda trial: (trial.datetime_complete or datetime.min, trial.number)):
        seen.add(trial.number)
        live.told(trial, best_trial(study))


def _start(job: Job, place: Place) -> tuple[Any, Connection]:
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imports take seconds: once for all workers
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, job, place))
    process.start()
    theirs.close()
    return process, ours


def _reason(process: Any, connection: Connection) -> str:
    """Why a worker ended.

    Raises:
        MerSearchError: if it was for a reason that would end the next one too.
    """
    with suppress(EOFError, ConnectionError):
        if connection.poll():
            error = connection.recv()
            if isinstance(error, MerSearchError) and not isinstance(error, StorageError):
                raise error
            return str(error).splitlines()[0]
    return signal.Signals(-process.exitcode).name if process.exitcode < 0 else f"exit code {process.exitcode}"


def _work(parent: Connection, job: Job, place: Place) -> None:
    """A worker's life. What ends it is sent to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    os.sched_setaffinity(0, place.cores)
    if place.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.gpu
    try:
        with reachable():
            study = open_study(job.search, open_storage(job.url), job.name)
        with open_pool(job.search.loaded.run, place.device) as pool:
            run(job.search, study, pool, job.trials, job.watcher)
    except MerSearchError as error:
        parent.send(error)
        sys.exit(1)
    except Exception as error:  # a defect
        write_whole(job.search.out / "error.txt", traceback.format_exc())
        parent.send(RuntimeError(f"{type(error).__name__}: {error}"))
        sys.exit(1)


def _leave_with(parent: Connection) -> None:
    """End this process when its parent's is gone: the parent never sends anything."""
    with suppress(EOFError, ConnectionError):
        parent.recv()
    os._exit(1)
