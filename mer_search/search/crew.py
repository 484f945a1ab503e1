"""Processes that work side by side, each with a GPU or its share of the cores. One that dies is replaced; a parent that
dies takes them with it. What they share, and who does what, is theirs to know (search.claims)."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.multiprocessing

from mer_search.errors import MerSearchError, StorageError
from mer_search.files import write_whole
from mer_search.processes import forked, leave_with_parent

REPLACED = 4  # dead workers that are replaced, in one run
LOOK = 0.5  # seconds between two looks at what they have done


class Place(NamedTuple):
    """Where a worker trains."""

    device: str  # "cpu" or "cuda"
    cores: set[int]
    gpu: str | None  # as CUDA_VISIBLE_DEVICES names it


Work = Callable[[str], None]  # what a worker does on a device; is sent to it


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


def employ(
    work: Work, where: Sequence[Place], look: Callable[[], None], say: Callable[[str], None], folder: Path
) -> None:
    """Have a worker in each place do the same work, until all have ended.

    Args:
        work: whatever they share, they share by what stands in it.
        where: a place for each worker.
        look: is called twice a second, and at the end.
        say: is told, in one line, of a worker that died.
        folder: for the traceback of a defect.

    Raises:
        MerSearchError: what ended a worker, or after too many that died.
    """
    crew = {number: _start(work, place, folder) for number, place in enumerate(where)}
    lost = 0
    try:
        while crew:
            wait([process.sentinel for process, _ in crew.values()], LOOK)
            look()
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
                crew[number] = _start(work, where[number], folder)
        look()
    finally:
        for process, _ in crew.values():
            process.kill()  # nothing is lost: what a worker writes, it writes whole
            process.join()


def _start(work: Work, place: Place, folder: Path) -> tuple[Any, Connection]:
    context = forked()
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, work, place, folder))
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


def _work(parent: Connection, work: Work, place: Place, folder: Path) -> None:
    """A worker's life. What ends it is sent to the parent."""
    leave_with_parent()
    os.sched_setaffinity(0, place.cores)
    if place.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.gpu
    try:
        work(place.device)
    except MerSearchError as error:
        parent.send(error)
        sys.exit(1)
    except Exception as error:  # a defect
        write_whole(folder / "error.txt", traceback.format_exc())
        parent.send(RuntimeError(f"{type(error).__name__}: {error}"))
        sys.exit(1)
