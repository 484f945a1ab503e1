"""Several runs in flight on one executor: their folds are trained in any order, and each run ends in its turn.

What a run needs next is told by a generator, and what it may need later by its plan. Slots are given to the folds of
the first run first, along its plan, and what is left of them to the next run's. Folds that were trained ahead and are
not needed, because the run was stopped before, are thrown away, and counted.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mer_search.engine.executor import Executor
from mer_search.engine.stop import check
from mer_search.engine.task import Event, Failed, Finished, Progress, Task, Timed
from mer_search.errors import Infeasible
from mer_search.evaluation.predictions import Predictions
from mer_search.files import write_whole
from mer_search.search.workspace import Loaded
from mer_search.training.fold_store import Key, checkpoint_file, keep_fold, load_folds, state_file

DEATHS = 2  # of the processes that trained a fold, after which its configuration is infeasible


class Want(NamedTuple):
    """A fold that is wanted, trained for so many epochs."""

    seed: int
    subject: str
    epochs: int

    @property
    def key(self) -> Key:
        return self.seed, self.subject


Needs = Generator[Want, Predictions, Any]  # yields the next fold, is sent it, returns what came of them


@dataclass(eq=False)
class Job:
    """A run, and which of its folds are wanted."""

    name: Any  # for progress and errors: a trial, a confirmation's title
    loaded: Loaded
    folder: Path  # where its folds are kept
    plan: Sequence[Want] = ()  # all folds that it may need, in the order in which it needs them
    needs: Any = None  # Needs: tells what it needs next
    keep: tuple[str, ...] = ()  # which weights of a fold are kept on disk, of training.loop.KEPT
    outcome: Any = None  # what `needs` returned
    error: Exception | None = None  # or what went wrong
    over: bool = False
    done: dict[Key, Predictions | Exception] = field(default_factory=dict)  # folds, or why they cannot be trained
    running: dict[Key, Task] = field(default_factory=dict)
    ahead: Counter[Key] = field(default_factory=Counter)  # epochs that were trained and not needed yet
    _deaths: Counter[Key] = field(default_factory=Counter)
    _need: Want | None = None

    def start(self) -> None:
        """Take what is on disk, and go as far as that leads."""
        self.done.update(load_folds(self.folder))
        self._advance()

    def _advance(self) -> None:
        """Send `needs` every fold that is there, until it wants one that is not."""
        try:
            need = self._need = self._need or next(self.needs)
            while fold := self._there(need):
                if isinstance(fold, Exception):
                    raise fold
                self.ahead[need.key] = min(self.ahead[need.key], fold.epochs - need.epochs)
                need = self._need = self.needs.send(fold.until(need.epochs))
        except StopIteration as end:
            self.outcome, self.over = end.value, True
        except Exception as error:  # of the fold, or of the job that wants it
            self.error, self.over = error, True

    def _there(self, want: Want) -> Predictions | Exception | None:
        """A wanted fold, or why there is none; None if it is to be trained."""
        found = self.done.get(want.key)
        return None if isinstance(found, Predictions) and found.epochs < want.epochs else found

    def next_task(self) -> Task | None:
        """The next fold along the plan that can be trained now."""
        for want in self.plan:
            if want.key not in self.running and self._there(want) is None:
                run = self.loaded.run
                state = state_file(self.folder, *want.key) if self.has_rungs else None
                keep = self.keep if want.epochs == run.train.epochs else ()
                task = self.running[want.key] = Task(run, self.loaded.dataset, *want, state, keep)
                return task
        return None

    @cached_property
    def has_rungs(self) -> bool:
        """Whether folds stop on their way."""
        return len({want.key for want in self.plan}) < len(self.plan)

    def hear(self, event: Progress | Finished | Failed) -> None:
        """Take in what happened to one of its tasks.

        A fold's own error counts when the fold is needed, so that training ahead changes nothing. The death of its
        process says nothing of the fold, unless it happens again.
        """
        key = event.task.seed, event.task.subject
        if isinstance(event, Progress):
            self.ahead[key] += event.epoch.stage == 2
            return
        del self.running[key]
        if isinstance(event, Finished):
            for name, weights in event.weights.items():
                write_whole(checkpoint_file(self.folder, *key, name), weights)
            keep_fold(self.folder, event.predictions, event.history)
            self.done[key] = event.predictions
            del self._deaths[key]
        elif event.error is not None:
            self.done[key] = event.error
        else:
            self._deaths[key] += 1
            if self._deaths[key] >= DEATHS:
                self.done[key] = Infeasible(
                    f"a fold must not end its process, but that of {key[1]}, seed {key[0]}, ended {DEATHS}, the last "
                    f"one with {event.cause}",
                    event.cause,
                )
        self._advance()

    @property
    def progress(self) -> tuple[int, int]:
        """How many of its folds are there, and how many there may be."""
        return sum(self._there(want) is not None for want in self.plan), len(self.plan)


def list_job(name: str, loaded: Loaded, folder: Path, folds: Sequence[Want], keep: tuple[str, ...] = ()) -> Job:
    """A job that wants all of a list of folds, whatever they say; its outcome are their predictions in that order."""

    def needs() -> Needs:
        found = []
        for want in folds:
            found.append((yield want))
        return found

    return Job(name, loaded, folder, folds, needs(), keep)


class Scheduler:
    """Trains jobs on an executor, `in_flight` of them begun before the first has ended."""

    def __init__(self, executor: Executor, in_flight: int) -> None:
        self.executor, self.in_flight = executor, in_flight
        self.trained = self.wasted = 0  # epochs of folds; those of them that were trained ahead and thrown away
        self._flight: deque[Job] = deque()
        self._of: dict[Any, Job] = {}  # the jobs of tasks

    def run(self, ask: Callable[[], Job | None]) -> Generator[tuple[Job, Progress | Finished | Failed | None]]:
        """Yield jobs with what happened to them: an epoch, a fold, a worker's death, or None when the job is over. That
        comes in the order in which jobs were asked for. Closing the iterator cancels what is being trained.

        Args:
            ask: gives the next job, or None if none is wanted now. It is called `in_flight` times at the start, and
                once after each job that is over.

        Raises:
            Stopped: if the user stops the program.
        """
        try:
            while len(self._flight) < self.in_flight and self._begin(ask()):
                pass
            while self._flight:
                check()
                self._submit()  # also before a job that is over is told, which takes a while
                if self._flight[0].over:
                    yield self._flight.popleft(), None
                    self._begin(ask())
                    continue
                for event in self.executor.poll():
                    yield from self._hear(event)
        finally:
            for job in self._flight:
                self._cancel(job)
            self._flight.clear()

    def _begin(self, job: Job | None) -> bool:
        if job is None:
            return False
        self._flight.append(job)
        if not job.over:
            self.executor.keep_only({each.loaded.dataset for each in self._flight})
            job.start()
        return True

    def _submit(self) -> None:
        """Fill the free slots."""
        for job in self._flight:
            while not job.over and self.executor.free > 0 and (task := job.next_task()):
                self.executor.put(job.loaded.dataset, job.loaded.tensors)
                self._of[task] = job
                self.executor.submit(task)

    def _hear(self, event: Event) -> Iterator[tuple[Job, Progress | Finished | Failed | None]]:
        job = self._of.get(event.task)
        if job is None or isinstance(event, Timed):  # the task was cancelled a moment ago
            return
        job.hear(event)
        if isinstance(event, Progress):
            self.trained += 1
        else:
            del self._of[event.task]
        if isinstance(event, Finished) and event.task.state and event.task.epochs == event.task.run.train.epochs:
            self.executor.discard(event.task.state)
        if not isinstance(event, Failed) or event.error is None:
            yield job, event
        if job.over:
            self.wasted += job.ahead.total()
            self._cancel(job)
            for key in {want.key for want in job.plan} if job.has_rungs else ():
                self.executor.discard(state_file(job.folder, *key))

    def _cancel(self, job: Job) -> None:
        for task in job.running.values():
            self.executor.cancel(task)
            del self._of[task]
