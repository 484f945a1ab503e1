"""Work on many clips at once, in threads: OpenCV and numpy let other threads run while they compute."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

import cv2

S = TypeVar("S")
T = TypeVar("T")
POLL = 0.2  # seconds
Check = Callable[[], None]


def in_threads(
    function: Callable[[S, Check], T], things: Iterable[S], told: Callable[[int, int], None], threads: int | None = None
) -> list[T]:
    """What `function(thing, check)` gives for each thing.

    Args:
        function: calls `check` now and then, which raises as soon as its result is no longer wanted.
        things: such as clips.
        told: called with (done, total) whenever some are done, and several times a second. If it raises, or a function
            does, the others are ended.
        threads: None for one a core.
    """
    cv2.setNumThreads(1)  # one thing a thread is faster than one row of an image a thread
    ended = Event()

    def check() -> None:
        if ended.is_set():
            raise CancelledError

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        jobs = [pool.submit(function, thing, check) for thing in things]
        left = set(jobs)
        try:
            while left:
                done, left = wait(left, POLL, FIRST_COMPLETED)
                for job in done:
                    job.result()
                told(len(jobs) - len(left), len(jobs))
        finally:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return [job.result() for job in jobs]
