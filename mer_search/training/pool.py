"""Processes that train folds: started at the first, fed one after another, with the clips they were last given at hand.

On a CPU there is one process a core, each with one thread: small networks gain nothing from more threads, and folds
are independent. On a GPU there is one process. A parent that dies takes its processes with it.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from safetensors.torch import save

from mer_search.config import Run
from mer_search.errors import DOES_NOT_FIT, Infeasible, MerSearchError, UsageError
from mer_search.files import write_whole
from mer_search.processes import elsewhere, forked
from mer_search.training.clips import Clips
from mer_search.training.judge import large
from mer_search.training.learner import splits
from mer_search.training.loop import Epoch, Trained, seconds_per_step, train_fold
from mer_search.training.predictions import Predictions

CANCEL = "cancel"


@dataclass(frozen=True)
class Task:
    """One fold to train, as `train_fold` has it; its last weights go to `checkpoint`, if given."""

    run: Run
    seed: int
    subject: str
    checkpoint: Path | None = None
    until: int | None = None
    kept: Path | None = None


@dataclass(frozen=True)
class Finished:
    """A fold that was trained as far as it was to be."""

    predictions: Predictions
    history: list[Epoch]


class Cancelled(Exception):  # noqa: N818 (no error)
    """The parent does not want this fold any more."""


def choose_device(wanted: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        UsageError: if cuda is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a GPU that torch can use, but it finds none; use --device cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def open_pool(run: Run, device: str, exact: bool = False) -> "Pool":
    """A pool for runs about as large as `run`: a process a core for small networks on a CPU, else one."""
    one = device != "cpu" or all(elsewhere(large, [run]))
    return Pool(device, 1 if one else len(os.sched_getaffinity(0)), exact)


class Pool:
    """Worker processes, used as a context manager. They start together at the first task; without one, never.

    Args:
        device: "cpu" or "cuda".
        size: how many processes.
        exact: whether a GPU must give the same result again, which costs speed; a CPU does.
    """

    def __init__(self, device: str, size: int, exact: bool = False) -> None:
        self.size = size
        cores = os.sched_getaffinity(0)
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        self._arguments = (device, cores, gpus, max(1, len(cores) // size), exact)
        self._workers: list[tuple[Any, Connection]] = []
        self._given: dict[int, Clips] = {}  # worker -> the clips that it has

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for process, connection in self._workers:
            process.kill()  # nothing is lost: what a worker writes, it writes whole
            process.join()
            connection.close()

    def _start(self) -> tuple[Any, Connection]:
        context = forked()
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def _send(self, worker: int, clips: Clips, task: "Task | Run") -> None:
        """A task for a worker, and the clips if it has others: in shared memory, so all processes have one copy."""
        if not self._workers:
            self._workers = [self._start() for _ in range(self.size)]
        if not self._workers[worker][0].is_alive():
            self._replace(worker)
        try:
            self._give(worker, clips, task)
        except ConnectionError:  # it died a moment ago
            self._replace(worker)
            self._give(worker, clips, task)

    def _give(self, worker: int, clips: Clips, task: "Task | Run") -> None:
        connection = self._workers[worker][1]
        if self._given.get(worker) is not clips:
            connection.send(clips)
            self._given[worker] = clips
        connection.send(task)

    def seconds_per_step(self, clips: Clips, run: Run) -> float:
        """How long a training step of `run` takes here."""
        self._send(0, clips, run)
        kind, value = self._receive(0)
        if kind == "failed":
            raise value
        return float(value)

    def train(
        self,
        clips: Clips,
        tasks: Sequence[Task],
        on_epoch: Callable[[Epoch], None],
        on_fold: Callable[[Finished], None] = lambda finished: None,
    ) -> Generator[Finished]:
        """Train the folds, several at once; yield them in the order given. Closing the iterator cancels the rest.

        Args:
            clips: all clips.
            tasks: the folds.
            on_epoch: called after every epoch of any of them.
            on_fold: called at once when a fold is finished, which may be before its turn.

        Raises:
            Infeasible: if a fold diverges, does not fit the device, or kills its process.
        """
        waiting, done, busy, turn = deque(enumerate(tasks)), {}, {}, 0
        try:
            while turn < len(tasks):
                for worker in range(self.size):
                    if worker not in busy and waiting:
                        busy[worker], task = waiting.popleft()
                        self._send(worker, clips, task)
                for worker in self._ready(busy):
                    kind, value = self._receive(worker)
                    if kind == "epoch":
                        on_epoch(value)
                    else:
                        done[busy.pop(worker)] = (kind, value)  # first, for the next may raise
                        if kind == "finished":
                            on_fold(value)
                while turn in done:
                    kind, value = done.pop(turn)
                    if kind == "failed":
                        raise value
                    turn += 1
                    yield value
        except KeyboardInterrupt:  # an epoch can take minutes: nobody waits for its end
            while busy:  # each is off the list before it is replaced, for a second Ctrl-C may come meanwhile
                self._replace(busy.popitem()[0])
            raise
        finally:
            self._cancel(busy)

    def _ready(self, busy: dict[int, int]) -> list[int]:
        ready = wait([self._workers[worker][1] for worker in busy])
        return [worker for worker in busy if self._workers[worker][1] in ready]

    def _receive(self, worker: int) -> tuple[str, Any]:
        """A worker's next message; a dead one is replaced and its fold counts as failed."""
        process, connection = self._workers[worker]
        try:
            message: tuple[str, Any] = connection.recv()
            return message
        except (EOFError, OSError):  # the latter in the middle of a message
            process.join()
            self._replace(worker)
            cause = _cause(process.exitcode)
            return "failed", Infeasible(f"a fold must not kill its process, but ended it with {cause}", cause)

    def _replace(self, worker: int) -> None:
        """A new process in the place of one that is dead, or not to be waited for."""
        process, connection = self._workers[worker]
        process.kill()
        process.join()
        connection.close()
        self._workers[worker] = self._start()
        self._given.pop(worker, None)

    def _cancel(self, busy: dict[int, int]) -> None:
        for worker in busy:
            with suppress(ConnectionError):  # of a dead one, which is found below
                self._workers[worker][1].send(CANCEL)
        for worker in busy:
            while self._receive(worker)[0] == "epoch":
                pass


def _cause(exitcode: int | None) -> str:
    return signal.Signals(-exitcode).name if exitcode and exitcode < 0 else f"exit code {exitcode}"


def _settle(exact: bool) -> None:
    """Choose a GPU's kernels: the fastest, or, before CUDA has started, those that give the same result again."""
    if exact:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # as cuBLAS asks for
    torch.use_deterministic_algorithms(exact, warn_only=True)
    torch.backends.cudnn.benchmark = not exact
    torch.backends.cudnn.deterministic = exact


def _work(parent: Connection, device: str, cores: set[int], gpus: str | None, threads: int, exact: bool) -> None:
    """A worker's life: put the clips that the parent sends on the device, train its tasks, until the parent is gone."""
    os.sched_setaffinity(0, cores)
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    torch.set_num_threads(threads)
    if device == "cuda":
        _settle(exact)
    clips: Clips
    while True:
        try:
            message = parent.recv()
            if isinstance(message, Clips):
                clips = message.to(device)
            elif message != CANCEL:  # else it came after the fold had ended
                parent.send(_result(message, parent, clips))
        except (EOFError, ConnectionError):
            return


def _result(task: Task | Run, parent: Connection, clips: Clips) -> tuple[str, Any]:
    """What became of a task: ("finished", ...), or ("failed", an exception of ours)."""
    try:
        if isinstance(task, Run):
            return "seconds", seconds_per_step(task, clips)
        return "finished", _train(task, parent, clips)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return "failed", Infeasible(
            "the network and a few clips must fit the device's memory, but do not", DOES_NOT_FIT
        )
    except (ConnectionError, EOFError):
        raise
    except (MerSearchError, Cancelled) as error:
        return "failed", error
    except Exception as error:  # a defect: shown by the parent, who has the terminal
        import traceback

        return "failed", RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")


def _fitting(task: Task, clips: Clips, tell: Callable[[Epoch], None]) -> Trained:
    """Train a fold, its batches whole or in as few pieces as fit the device."""
    *fewer, most = splits(task.run.train.batch)
    for pieces in fewer:
        with suppress(torch.OutOfMemoryError):
            return train_fold(task.run, clips, task.subject, task.seed, tell, task.until, task.kept, pieces)
        torch.cuda.empty_cache()
    return train_fold(task.run, clips, task.subject, task.seed, tell, task.until, task.kept, most)


def _train(task: Task, parent: Connection, clips: Clips) -> Finished:
    def tell(epoch: Epoch) -> None:
        if parent.poll():
            parent.recv()
            raise Cancelled
        parent.send(("epoch", epoch))

    trained = _fitting(task, clips, tell)
    if task.checkpoint:
        weights = {key: value.contiguous() for key, value in trained.network.state_dict().items()}
        write_whole(task.checkpoint, save(weights))
    return Finished(trained.predictions, trained.history)
