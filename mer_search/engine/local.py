"""The executor of this machine: worker processes, one a slot, that share one copy of the clips.

On a CPU a slot has one thread: small networks gain nothing from more, and folds are independent. A network that is so
large that all cores should share a step has one slot. A GPU has one slot, or several for networks that do not fill it.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.multiprocessing

from mer_search.config import Run
from mer_search.engine.executor import POLL, Silence, check_executor, cores
from mer_search.engine.task import Event, Failed, Task, Timing, event_of
from mer_search.engine.worker import Cancelled, Defect, execute, on_device, settle
from mer_search.errors import UsageError
from mer_search.processes import forked, leave_with_parent, without_main
from mer_search.training.dataset import Clips
from mer_search.training.loop import Epoch
from mer_search.training.predict_proba import fills_gpu, large

CANCEL = "cancel"
SLOTS_OF_GPU = 4  # for small networks: ten folds of `demo` took 1.6 s in four, 2.8 s in one (H200)


def choose_device(wanted: str, executor: str = "local") -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda". A cluster may have GPUs where this machine has none.

    Raises:
        UsageError: if cuda is wanted here and there is none, or there can be no such executor.
    """
    check_executor(executor)
    if wanted not in {"auto", "cpu", "cuda"}:
        raise UsageError(f"the device must be auto, cpu or cuda, but is {wanted!r}")
    if wanted == "cuda" and executor != "local":
        return wanted
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a GPU that torch can use, but it finds none; use --device cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def machine_slots(run: Run, device: str, slots: int | None) -> tuple[int, int]:
    """How many slots this machine has for networks about as large as `run`'s, unless `slots` are asked for, and how
    many threads each slot has."""
    if device == "cuda":
        size = slots or len(gpus()) * (1 if fills_gpu(run) else SLOTS_OF_GPU)
        return size, max(1, cores() // size)
    size = slots or (1 if large(run) else cores())
    return size, max(1, cores() // size) if large(run) else 1


def gpus() -> list[str]:
    """The GPUs of this process, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


@dataclass(eq=False)
class _Slot:
    """A worker process, its connection, the dataset that it has, and the task that it is at."""

    process: BaseProcess
    connection: Connection
    dataset: str | None = None
    task: Task | Timing | None = None
    wanted: bool = True  # whether the task was not cancelled
    discarded: bool = False  # whether the state that the task may leave behind is to be deleted


class LocalExecutor:
    """Worker processes of this machine, one a slot, each with so many threads; on several GPUs they take turns. They
    start with their first tasks, and end with this process, however it ends. `exact`: a GPU must give the same result
    again.
    """

    def __init__(
        self, device: str, slots: int, threads: int = 1, exact: bool = False, silence: Silence | None = None
    ) -> None:
        self.slots = slots
        self._arguments = (device, threads, exact)
        self._gpus = gpus() if device == "cuda" else []
        self._slots: dict[int, _Slot] = {}  # by number
        self._clips: dict[str, Clips] = {}
        self._silence = silence or Silence()

    def __enter__(self) -> "LocalExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def free(self) -> int:
        return self.slots - sum(slot.task is not None for slot in self._slots.values())

    def put(self, dataset: str, clips: Clips) -> None:
        self._clips.setdefault(dataset, clips)

    def drop(self, dataset: str) -> None:
        self._clips.pop(dataset, None)

    def submit(self, task: Task | Timing) -> None:
        idle = [n for n in range(self.slots) if n not in self._slots or self._slots[n].task is None]
        number = min(idle, key=lambda n: (n not in self._slots or self._slots[n].dataset != task.dataset, n))
        slot = self._slots.get(number) or self._start(number)
        try:
            self._send(slot, task)
        except ConnectionError:  # it died while it was idle
            self._end(number)
            self._send(self._start(number), task)

    def _start(self, number: int) -> _Slot:
        context = forked()
        ours, theirs = context.Pipe()
        gpu = self._gpus[number % len(self._gpus)] if self._gpus else None
        process = context.Process(target=_work, args=(theirs, gpu, *self._arguments), daemon=True)
        with without_main():
            process.start()
        theirs.close()
        slot = self._slots[number] = _Slot(process, ours)
        return slot

    def _send(self, slot: _Slot, task: Task | Timing) -> None:
        if slot.dataset != task.dataset:
            clips = self._clips[task.dataset]
            slot.connection.send(clips if clips.is_shared else clips.arrays())
        slot.connection.send(task)
        slot.dataset, slot.task, slot.wanted, slot.discarded = task.dataset, task, True, False
        self._silence.started(task)

    def cancel(self, task: Task) -> None:
        for slot in self._slots.values():
            if slot.task is task and slot.wanted:
                slot.wanted = False
                with suppress(ConnectionError):  # of a dead one, which poll finds
                    slot.connection.send(CANCEL)

    def discard(self, state: Path) -> None:
        state.unlink(missing_ok=True)
        for slot in self._slots.values():
            slot.discarded |= isinstance(slot.task, Task) and slot.task.state == state

    def poll(self, timeout: float = POLL) -> list[Event]:
        busy = {number: slot for number, slot in self._slots.items() if slot.task is not None}
        ready = wait([slot.connection for slot in busy.values()], timeout)
        events = [event for n, slot in busy.items() if slot.connection in ready for event in self._receive(n, slot)]
        for task in self._silence.overdue():
            number = next(n for n, slot in self._slots.items() if slot.task is task)
            events += self._lost(number, self._slots[number], "a worker that trained no epoch for much too long")
        return events

    def _receive(self, number: int, slot: _Slot) -> list[Event]:
        """What a worker's next message tells."""
        task, wanted = slot.task, slot.wanted
        assert task is not None  # noqa: S101 (for the type checker: only busy slots are listened to)
        try:
            message = slot.connection.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            slot.process.join()
            return self._lost(number, slot, _cause(slot.process.exitcode))
        if isinstance(message, Epoch):
            self._silence.heard(task)
            return [event_of(task, message)] if wanted else []
        if isinstance(message, str):
            return self._lost(number, slot, message)
        if isinstance(message, Defect):
            self._end(number)
        slot.task = None
        self._silence.ended(task)
        if slot.discarded and isinstance(task, Task) and task.state:
            self.discard(task.state)
            with suppress(OSError):  # others' are there, or the folder has gone
                task.state.parent.rmdir()
        return [event_of(task, message)] if wanted else []

    def _lost(self, number: int, slot: _Slot, cause: str) -> list[Event]:
        """A worker has died, or is of no use any more."""
        task = slot.task
        self._end(number)
        if task is None:
            return []
        self._silence.ended(task)
        return [Failed(task, None, cause)] if slot.wanted else []

    def _end(self, number: int) -> None:
        """Free a slot of its process: the next task there has a fresh one."""
        slot = self._slots.pop(number)
        slot.process.kill()  # nothing is lost: what a worker writes is whole, or counts as absent
        slot.process.join()
        slot.connection.close()

    def close(self) -> None:
        for number in list(self._slots):
            self._end(number)


def _cause(exitcode: int | None) -> str:
    return signal.Signals(-exitcode).name if exitcode and exitcode < 0 else f"exit code {exitcode}"


def _work(parent: Connection, gpu: str | None, device: str, threads: int, exact: bool) -> None:
    """A worker's life: train the tasks that the parent sends on the clips that it sends, until the parent is gone."""
    leave_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    settle(device, threads, exact)
    sent: Clips | None = None
    placed: Clips | None = None

    def clips() -> Clips:
        nonlocal placed
        if placed is None:
            assert sent is not None  # noqa: S101 (clips come before tasks)
            placed = on_device(sent, device)
        return placed

    def tell(epoch: Epoch) -> None:
        if parent.poll():
            parent.recv()
            raise Cancelled
        parent.send(epoch)

    while True:
        try:
            message = parent.recv()
            if isinstance(message, Task | Timing):
                result = execute(message, clips, tell)
                parent.send(result)
                if isinstance(result, str | Defect):
                    return
            elif message != CANCEL:  # else it came after the fold had ended
                placed = None  # first, so that there is room for the others
                sent = message if isinstance(message, Clips) else Clips.of_arrays(message)
        except (EOFError, ConnectionError):
            return
