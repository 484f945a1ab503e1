"""The protocol of executors: where tasks are trained, on this machine or on a cluster."""

import os
import re
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mer_search.config import Run
from mer_search.engine.stop import check
from mer_search.engine.task import Event, Failed, Finished, Task, Timed, Timing
from mer_search.errors import MerSearchError, UsageError
from mer_search.training.dataset import Clips

PATIENCE = 3600.0  # seconds without an epoch, while it is not known how long epochs take, after which a worker hangs
FACTOR = 20.0  # ... or so many times the longest epoch of the same configuration, once it is
FLOOR = 300.0  # ... but never fewer seconds, for a network may be compiled in between
POLL = 0.2  # seconds between two looks at what else must be done, such as a stop


class Executor(Protocol):
    """Slots that train one task each. Worker processes are the executor's own: it starts and replaces them.

    After a worker has died, or an unexpected exception has happened in it, the next task in its slot has a fresh one.
    """

    @property
    def slots(self) -> int:
        """How many tasks may be under way at once. It may change."""
        ...

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        ...

    def put(self, dataset: str, clips: Clips) -> None:
        """Make clips available to tasks under a name. The same name again changes nothing."""
        ...

    def drop(self, dataset: str) -> None:
        """Forget clips that no task needs any more."""
        ...

    def submit(self, task: Task | Timing) -> None:
        """Start a task in a free slot."""
        ...

    def cancel(self, task: Task) -> None:
        """Stop a task at the end of its epoch; no more events of it follow. Its slot is busy until then."""
        ...

    def discard(self, state: Path) -> None:
        """Delete what a fold that will not go on has left behind, and what a cancelled task of it still may."""
        ...

    def poll(self, timeout: float = POLL) -> list[Event]:
        """What has happened since the last call; wait for something up to `timeout` seconds."""
        ...

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        ...


class Silence:
    """Which tasks have been silent for much longer than their epochs take, so that their worker must hang."""

    def __init__(self, patience: float = PATIENCE, factor: float = FACTOR, floor: float = FLOOR) -> None:
        self.patience, self.factor, self.floor = patience, factor, floor
        self._heard: dict[Task | Timing, float] = {}
        self._longest: dict[Run, float] = {}  # seconds between two messages of a configuration's folds

    def started(self, task: Task | Timing) -> None:
        """The task was submitted."""
        self._heard[task] = time.monotonic()

    def heard(self, task: Task | Timing) -> None:
        """An epoch of the task has ended."""
        now = time.monotonic()
        self._longest[task.run] = max(self._longest.get(task.run, 0.0), now - self._heard[task])
        self._heard[task] = now

    def ended(self, task: Task | Timing) -> None:
        """Nothing more is expected of the task."""
        self._heard.pop(task, None)
        if not any(other.run == task.run for other in self._heard):
            self._longest.pop(task.run, None)

    def overdue(self) -> list[Task | Timing]:
        """The tasks whose workers must hang."""
        now = time.monotonic()
        return [task for task, heard in self._heard.items() if now - heard > self._limit(task.run)]

    def _limit(self, run: Run) -> float:
        longest = self._longest.get(run)
        return self.patience if longest is None else max(self.floor, self.factor * longest)


def check_executor(where: str) -> None:
    """Raise UsageError unless `--executor` can name one so."""
    if not re.fullmatch(r"local|ray|ray://\S+:\d+", where):
        raise UsageError(f"--executor must be local, ray or ray://HOST:10001, but got {where!r}")


def seconds_per_step(executor: Executor, dataset: str, run: Run) -> float:
    """How long a training step of `run` takes in a slot.

    Raises:
        MerSearchError: if it cannot be trained, or its worker died.
    """
    executor.submit(Timing(run, dataset))
    while True:
        check()
        for event in executor.poll():
            if isinstance(event, Timed):
                return event.seconds
            if isinstance(event, Failed):
                raise event.error or MerSearchError(f"a training step must not end its worker, but did: {event.cause}")


def train_all(executor: Executor, tasks: Sequence[Task]) -> list[Finished]:
    """Train tasks whose clips the executor has, and nothing else beside them; in their order.

    Raises:
        MerSearchError: if one of them cannot be trained, or its worker died.
    """
    waiting, done = deque(tasks), dict[Task, Finished]()
    while len(done) < len(tasks):
        while waiting and executor.free > 0:
            executor.submit(waiting.popleft())
        for event in executor.poll():
            if isinstance(event, Failed):
                raise event.error or MerSearchError(f"a fold must not end its worker, but did: {event.cause}")
            if isinstance(event, Finished):
                done[event.task] = event
    return [done[task] for task in tasks]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
