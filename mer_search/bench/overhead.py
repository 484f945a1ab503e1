"""What is not training: motion on its way into the store, the way to the first step, and a trial's bookkeeping."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from mer_search.bench.speed import Times, timed
from mer_search.config import with_values
from mer_search.data.flow import measure
from mer_search.data.frames import frame_sets
from mer_search.engine.executor import Executor
from mer_search.engine.where import Where
from mer_search.search import space
from mer_search.search.scheduler import Scheduler
from mer_search.search.space import StudyFile
from mer_search.search.storage import open_storage
from mer_search.search.study import Event, Trained, open_study, run
from mer_search.search.trial import Search
from mer_search.search.workspace import Loaded, Progress, find_data, load_data, silent

CLIPS, TRIALS = 6, 3


class Bookkeeping(NamedTuple):
    """Of a trial of the demo study, in seconds."""

    trial: float  # from one to the next
    training: float  # of that, in which folds are trained

    @property
    def seconds(self) -> float:
        return self.trial - self.training


def load_demo(progress: Progress) -> Loaded:
    """The demo study's clips and motion."""
    return load_data(find_data(None, progress), space.load("demo").base, progress)


def store_build(loaded: Loaded, runs: int) -> Times:
    """Seconds a clip on one core: its frames read, prepared, and their flow measured."""
    clips = loaded.clips[:CLIPS]
    times = timed(lambda: [measure(clip, frame_sets(clip, loaded.run.frames), loaded.run) for clip in clips], runs)
    return Times(tuple(seconds / len(clips) for seconds in times.seconds))


def start(runs: int) -> Times:
    """From the start of a program to the end of its first epoch, the store being warm: imports, storage, processes."""
    code = f"import sys; from {__name__} import first_epoch; first_epoch(sys.argv[1])"

    def once() -> None:
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-c", code, folder]
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (nothing in it is from outside)

    return timed(once, runs)


def first_epoch(folder: str) -> None:
    """What `run` does until its first epoch has ended."""
    loaded = load_demo(silent)
    with Where().open(loaded.run) as executor:
        for event in _search(space.load("demo"), loaded, executor, Path(folder), 1):
            if isinstance(event, Trained):
                os._exit(0)  # what comes after is not measured


def bookkeeping(file: StudyFile, loaded: Loaded) -> Bookkeeping:
    """Whatever a trial needs beside its training: Optuna, storage, files, processes, evaluation. Epochs are few here,
    so that it can be told from the training."""
    short = replace(loaded, run=with_values(loaded.run, {"train.epochs": 2}))
    with TemporaryDirectory() as folder, Where().open(loaded.run) as executor:
        deque(_search(file, short, executor, Path(folder), 1), 0)  # processes have started, and have the clips
        start, training = time.perf_counter(), 0.0
        for event in _search(file, short, executor, Path(folder), 1 + TRIALS):
            training += event.epoch.seconds if isinstance(event, Trained) else 0.0
        took = time.perf_counter() - start
        return Bookkeeping(took / TRIALS, training / TRIALS / executor.slots)


def _search(file: StudyFile, loaded: Loaded, executor: Executor, folder: Path, trials: int) -> Iterator[Event]:
    file = replace(file, pruner="none")
    search = Search(file, loaded, loaded.select(file.subjects), 0, folder / "runs")
    opened = open_study(search, open_storage(f"sqlite:///{folder}/study.db", create=True), "speed")
    return run(search, opened, Scheduler(executor, 1), trials)
