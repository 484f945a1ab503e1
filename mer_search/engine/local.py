"""The executor of this machine: worker processes, one a slot, that share one copy of the clips.

On a CPU a slot has one thread: small networks gain nothing from more, and folds are independent. A network that is so
large that all cores should share a step has one slot. A GPU has one slot, or several for networks that do not fill it.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.multiprocessing

from mer_search.config import Run
from mer_search.engine.executor import POLL, Executor, Silence, Slot, cores
from mer_search.engine.task import Event, Task, Timing
from mer_search.engine.worker import Cancelled, Defect, execute, on_device, settle
from mer_search.errors import UsageError
from mer_search.processes import forked, leave_with_parent, without_main
from mer_search.training.dataset import Clips
from mer_search.training.loop import Epoch
from mer_search.training.predict_proba import fills_gpu, large

CANCEL = "cancel"
SLOTS_OF_GPU = 4  # for small networks: ten folds of `demo` took 1.6 s in four, 2.8 s in one (H200)


def choose_device(wanted: str, executor: str = "local") -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; UsageError if cuda is wanted here and there is none. A cluster may
    have GPUs where this machine has none."""
    if wanted not in {"auto", "cpu", "cuda"}:
        raise UsageError(f"the device must be auto, cpu or cuda, but is {wanted!r}")
    if wanted == "cuda" and executor == "local" and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a GPU that torch can use, but it finds none; use --device cpu or auto")
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


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


@dataclass(eq=False, kw_only=True)
class _Slot(Slot):
    number: int
    process: BaseProcess
    connection: Connection
    dataset: str | None = None  # that the process has
    discarded: bool = False  # whether the state that the task may leave behind is to be deleted


class LocalExecutor(Executor):
    """Worker processes of this machine, each with so many threads; on several GPUs they take turns. They start with
    their first tasks, and end with this process, however it ends. `exact`: a GPU must give the same result again."""

    def __init__(
        self, device: str, slots: int, threads: int = 1, exact: bool = False, silence: Silence | None = None
    ) -> None:
        super().__init__(silence)
        self._size, self._arguments = slots, (device, threads, exact)
        self._gpus = gpus() if device == "cuda" else []

    @property
    def slots(self) -> int:
        return self._size

    @property
    def free(self) -> int:
        return self._size - sum(slot.task is not None for slot in self._slots)

    def put(self, dataset: str, clips: Clips) -> None:
        self._clips.setdefault(dataset, clips)

    def submit(self, task: Task | Timing) -> None:
        idle = [slot for slot in self._slots if slot.task is None]
        slot = min(idle, key=lambda slot: slot.dataset != task.dataset) if idle else self._start()
        try:
            self._send(slot, task)
        except ConnectionError:  # it died while it was idle
            self._end(slot)
            self._send(self._start(), task)

    def _start(self) -> _Slot:
        number = min(set(range(self._size)) - {slot.number for slot in self._slots})
        gpu = self._gpus[number % len(self._gpus)] if self._gpus else None
        context = forked()
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, gpu, *self._arguments), daemon=True)
        with without_main():
            process.start()
        theirs.close()
        self._slots.append(slot := _Slot(number=number, process=process, connection=ours))
        return slot

    def _send(self, slot: _Slot, task: Task | Timing) -> None:
        if slot.dataset != task.dataset:
            clips = self._clips[task.dataset]
            slot.connection.send(clips if clips.is_shared else clips.arrays())
        slot.connection.send(task)
        slot.dataset, slot.discarded = task.dataset, False
        self._begin(slot, task)

    def cancel(self, task: Task) -> None:
        for slot in self._slots:
            if slot.task is task and slot.wanted:
                slot.wanted = False
                with suppress(ConnectionError):  # of a dead one, which poll finds
                    slot.connection.send(CANCEL)

    def discard(self, state: Path) -> None:
        state.unlink(missing_ok=True)
        for slot in self._slots:
            slot.discarded |= slot.task is not None and slot.task.state == state

    def poll(self, timeout: float = POLL) -> list[Event]:
        busy = [slot for slot in self._slots if slot.task is not None]
        ready = wait([slot.connection for slot in busy], timeout)
        events = [event for slot in busy if slot.connection in ready for event in self._receive(slot)]
        return events + self._lose_hanging()

    def _receive(self, slot: _Slot) -> list[Event]:
        state = slot.task and slot.task.state
        try:
            told = slot.connection.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            slot.process.join()
            return self._lose(slot, _cause(slot.process.exitcode))
        events = self._hear(slot, told)
        if slot.discarded and state and slot.task is None:
            self.discard(state)
            with suppress(OSError):  # others' are there, or the folder has gone
                state.parent.rmdir()
        return events

    def _end(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        slot.process.kill()  # nothing is lost: what a worker writes is whole, or counts as absent
        slot.process.join()
        slot.connection.close()

    def close(self) -> None:
        for slot in list(self._slots):
            self._end(slot)


def _cause(exitcode: int | None) -> str:
    return signal.Signals(-exitcode).name if exitcode and exitcode < 0 else f"exit code {exitcode}"


def _work(parent: Connection, gpu: str | None, device: str, threads: int, exact: bool) -> None:
    """A worker's life: train the tasks that the parent sends on the clips that it sends, until the parent is gone."""
    leave_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    settle(device, threads, exact)

    def tell(epoch: Epoch) -> None:
        if parent.poll():
            parent.recv()
            raise Cancelled
        parent.send(epoch)

    while True:
        try:
            message = parent.recv()
            if isinstance(message, tuple):  # clips, which come before their tasks
                sent = message if isinstance(message, Clips) else Clips.of_arrays(message)
                clips = cache(partial(on_device, sent, device))  # the last ones are gone first, so that there is room
            elif message != CANCEL:  # else it came after the fold had ended
                result = execute(message, clips, tell)
                parent.send(result)
                if isinstance(result, str | Defect):
                    return
        except (EOFError, ConnectionError):
            return
