"""How the program's processes start, and how they end.

Those that train are forked from a server that has loaded torch before: on two cores a command and its server load it at
the same time. Ctrl-C and SIGTERM end a command wherever it is, and leave its other processes to it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.context import ForkServerContext
from types import FrameType
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")
PRELOADED = ["mer_search.training.pool", "torch._dynamo"]  # an optimiser loads the latter, which takes as long as torch
AGAIN = 0.05  # seconds after which a stop that was swallowed is asked for once more


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a batch system sends it before its time limit."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """As a shell has it: 128 and the signal's number."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, both signals raise KeyboardInterrupt in the main thread, and neither is lost.

    Python runs a signal's handler between any two instructions of the main thread. Where these are a finaliser's, or a
    callback of the garbage collector's, it prints what they raise and drops it; the stop is then raised once more.
    """
    stops: dict[signal.Signals, type[KeyboardInterrupt]] = {
        signal.SIGINT: KeyboardInterrupt,
        signal.SIGTERM: Terminated,
        signal.SIGALRM: KeyboardInterrupt,
    }

    def stop(number: int, _: FrameType | None) -> None:
        if number != signal.SIGALRM:
            stops[signal.SIGALRM] = stops[signal.Signals(number)]
        raise stops[signal.Signals(number)]

    def swallowed(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            before_hook(unraisable)

    before = {number: signal.signal(number, stop) for number in stops}
    before_hook, sys.unraisablehook = sys.unraisablehook, swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = before_hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shielded() -> Iterator[None]:
    """A process that is started within never hears either signal: a terminal, and a batch system, send them to all of a
    command's processes, and it is the parent that ends the others. What comes for this thread meanwhile comes
    afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def warm_up(*modules: str) -> None:
    """Have the server started, if it is not, and load what its processes need, and these modules, while this process
    does something else."""
    get_context("forkserver").set_forkserver_preload([*PRELOADED, *modules])
    with shielded():
        forkserver.ensure_running()


def forked() -> ForkServerContext:
    """What processes that train are started with: they are shielded, and have neither this one's cores nor its
    environment."""
    warm_up()
    return get_context("forkserver")


def elsewhere(function: Callable[[S], T], things: Iterable[S]) -> list[T]:
    """What a function gives for each of some things, in a process where torch's compiler is loaded: counting operations
    needs it."""
    with ProcessPoolExecutor(1, forked(), leave_with_parent) as executor:
        return list(executor.map(function, things))


def leave_with_parent() -> None:
    """End this process as soon as its parent has ended, however that was: who waits for its word waits for ever."""
    threading.Thread(target=_leave, daemon=True).start()


def _leave() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
