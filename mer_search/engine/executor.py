"""What executors share: slots that train one task each, on this machine or on a cluster."""

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mer_search.config import Run
from mer_search.engine.stop import check
from mer_search.engine.task import Event, Failed, Finished, Progress, Task, Timed, Timing
from mer_search.engine.worker import Defect
from mer_search.errors import MerSearchError
from mer_search.training.dataset import Clips
from mer_search.training.loop import Epoch

POLL = 0.2  # seconds between two looks at what else must be done, such as a stop


@dataclass(eq=False)
class Slot:
    """The task that a worker is at."""

    task: Task | Timing | None = None
    wanted: bool = True  # whether the task was not cancelled


@dataclass
class Silence:
    """Which tasks have been silent for much longer than their epochs take, so that their worker must hang."""

    patience: float = 3600.0  # seconds without an epoch, while it is not known how long epochs take
    factor: float = 20.0  # ... or so many times the longest epoch of the same configuration, once it is
    floor: float = 300.0  # ... but never fewer seconds, for a network may be compiled in between
    _heard: dict[Task | Timing, float] = field(default_factory=dict)
    _longest: dict[Run, float] = field(default_factory=dict)  # seconds between two epochs of a configuration's folds

    def started(self, task: Task | Timing) -> None:
        self._heard[task] = time.monotonic()

    def heard(self, task: Task | Timing) -> None:
        now = time.monotonic()
        self._longest[task.run] = max(self._longest.get(task.run, 0.0), now - self._heard[task])
        self._heard[task] = now

    def ended(self, task: Task | Timing) -> None:
        del self._heard[task]
        if not any(other.run == task.run for other in self._heard):
            self._longest.pop(task.run, None)

    def is_overdue(self, task: Task | Timing) -> bool:
        longest = self._longest.get(task.run)
        limit = self.patience if longest is None else max(self.floor, self.factor * longest)
        return time.monotonic() - self._heard[task] > limit


class Executor(ABC):
    """Slots whose workers, processes of the executor's own, train one task each. After a worker has died, or an
    unexpected exception has happened in it, the next task has a fresh one."""

    def __init__(self, silence: Silence | None) -> None:
        self._slots: list[Any] = []  # those that have a worker
        self._clips: dict[str, Any] = {}  # by dataset
        self._silence = silence or Silence()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def slots(self) -> int:
        """How many tasks may be under way at once. It may change."""
        return len(self._slots)

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more tasks may be submitted now."""

    @abstractmethod
    def put(self, dataset: str, clips: Clips) -> None:
        """Make clips available to tasks under a name. The same name again changes nothing."""

    def keep_only(self, datasets: Collection[str]) -> None:
        """Forget all clips but these."""
        self._clips = {name: clips for name, clips in self._clips.items() if name in datasets}

    @abstractmethod
    def submit(self, task: Task | Timing) -> None:
        """Start a task in a free slot."""

    @abstractmethod
    def cancel(self, task: Task) -> None:
        """Stop a task at the end of its epoch; no more events of it follow. Its slot is busy until then."""

    @abstractmethod
    def discard(self, state: Path) -> None:
        """Delete what a fold that will not go on has left behind, and what a cancelled task of it still may."""

    @abstractmethod
    def poll(self, timeout: float = POLL) -> list[Event]:
        """What has happened since the last call; wait for something up to `timeout` seconds."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once, whatever they do."""

    @abstractmethod
    def _end(self, slot: Any) -> None:
        """Give up a worker."""

    def _begin(self, slot: Slot, task: Task | Timing) -> None:
        slot.task, slot.wanted = task, True
        self._silence.started(task)

    def _hear(self, slot: Slot, told: Any) -> list[Event]:
        """What the word of a busy slot's worker says: an epoch, a task's result, or, as text, why the worker is of no
        use any more."""
        task: Any = slot.task
        if isinstance(told, str):
            return self._lose(slot, told)
        if isinstance(told, Epoch):
            self._silence.heard(task)
            return [Progress(task, told)] if slot.wanted else []
        slot.task = None
        self._silence.ended(task)
        if isinstance(told, Defect):
            self._end(slot)
        if not slot.wanted:
            return []
        if isinstance(told, Exception):
            return [Failed(task, told)]
        return [Timed(task, told) if isinstance(task, Timing) else Finished(task, *told)]

    def _lose(self, slot: Slot, cause: str) -> list[Event]:
        """A worker has died, or is of no use any more."""
        self._end(slot)
        task, slot.task = slot.task, None
        if task is None:
            return []
        self._silence.ended(task)
        return [Failed(task, None, cause)] if slot.wanted else []

    def _lose_hanging(self) -> list[Event]:
        hanging = [slot for slot in self._slots if slot.task and self._silence.is_overdue(slot.task)]
        cause = "a worker that trained no epoch for much too long"
        return [event for slot in hanging for event in self._lose(slot, cause)]


def train_all(executor: Executor, tasks: Sequence[Task | Timing]) -> list[Any]:
    """What tasks end with, Finished or Timed, in their order; the executor has their clips, and nothing else to train.
    MerSearchError if one of them cannot be trained, or its worker died."""
    waiting, done = deque(tasks), dict[Task | Timing, Finished | Timed]()
    while len(done) < len(tasks):
        check()
        while waiting and executor.free > 0:
            executor.submit(waiting.popleft())
        for event in executor.poll():
            if isinstance(event, Failed):
                raise event.error or MerSearchError(f"a task must not end its worker, but did: {event.cause}")
            if not isinstance(event, Progress):
                done[event.task] = event
    return [done[task] for task in tasks]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
