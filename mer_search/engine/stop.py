"""Ctrl-C and SIGTERM: the first ends a command where nothing is half done, a second one ends it at once."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import active_children
from types import FrameType

from mer_search.files import delete_unfinished

SIGNALS = (signal.SIGINT, signal.SIGTERM)
MESSAGE = "\nstopped; the same command goes on from here"
SAME = 0.03  # seconds within which signals are one stop: `timeout` sends one to a command and one to its whole group
SHOW_CURSOR = "\x1b[?25h"  # which a progress bar has hidden


class Stopped(KeyboardInterrupt):
    """A signal has asked this command to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """128 and the signal's number, as a shell has it."""
    return 128 + getattr(stop, "signal", signal.SIGINT)


def check() -> None:
    """Raise Stopped if a signal has come; so does each later call."""
    if _command and _command.signal is not None:
        raise Stopped(_command.signal)


@contextmanager
def polling() -> Iterator[None]:
    """Within, a first signal interrupts nothing: `check` must be called several times a second. The end checks, too."""
    check()
    if command := _command:
        command.polls += 1
    try:
        yield
    finally:
        if command:
            command.polls -= 1
        check()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, a first signal raises Stopped: at once, or while `polling` at the next check. A second one, until the
    process has ended, kills its children, deletes its unfinished files and ends it. Once a signal has come, any other
    error is taken for a part of the stop."""
    global _command
    if _command and not _command.ended:  # a group of commands within another
        yield
        return
    if _command:
        _command.close()
    command = _command = _Command()
    try:
        yield
    except BaseException:
        check()
        raise
    finally:
        command.ended = True
        if command.signal is None:
            command.close()
            _command = None


def say(write: Callable[[str], object]) -> None:
    """Tell the user once that the command was stopped, whichever thread comes first."""
    if _command is None:
        write(MESSAGE)
        return
    free = _command.saying.acquire(timeout=1)  # the other thread writes, unless it hangs at that
    try:
        if not _command.said:
            write(MESSAGE)
        _command.said = True
    finally:
        if free:
            _command.saying.release()


class _Command:
    """What a command has heard of the two signals.

    Python runs a signal's handler in the main thread, and not before that thread's C function returns. So it is another
    thread that hears the second one: at once, and whatever the main thread does.
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # the first that came
        self.polls = 0  # `polling` contexts that are open
        self.said, self.saying = False, threading.Lock()
        self.ended = False
        self._heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        threading.Thread(target=self._listen, daemon=True).start()
        self._wakeup = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._first) for number in SIGNALS}

    def close(self) -> None:
        """Hear no more signals."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._told)

    def _first(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            if not self.polls:
                raise Stopped(number)

    def _listen(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they are the main thread's, or wait for it
        if first := self._next():
            time.sleep(SAME)
            while select.select([self._heard], [], [], 0)[0] and os.read(self._heard, 64):
                pass
            if self._next():
                self._leave(128 + first)
        os.close(self._heard)

    def _next(self) -> int | None:
        """Wait for one of the signals; None at the end."""
        while heard := os.read(self._heard, 64):
            if known := set(heard) & set(SIGNALS):
                return known.pop()
        return None

    @staticmethod
    def _leave(code: int) -> None:
        """End this process at once."""
        try:
            for child in active_children():
                with suppress(Exception):  # it has ended, or is only being started, and leaves with its parent
                    child.kill()
            delete_unfinished()
            say(_write)
        finally:
            os._exit(code)


def _write(text: str) -> None:
    """Write to stderr past Python's buffers, which the main thread may hold, unless stderr is closed."""
    if select.select([], [2], [], 0)[1]:
        os.write(2, f"{SHOW_CURSOR if os.isatty(2) else ''}{text}\n".encode())


_command: _Command | None = None  # the one that runs, or was stopped last
