"""Work on many clips at once, in threads: OpenCV and numpy let other threads run while they compute."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import TypeVar

import cv2
from cv2.typing import MatLike

from mer_search.data.clips import Clip, Problem
from mer_search.data.prepare import Read, read_image
from mer_search.errors import DataError

S = TypeVar("S")
T = TypeVar("T")
POLL = 0.2  # seconds
Check = Callable[[], None]


def in_threads(
    function: Callable[[S, Check], T], things: Sequence[S], told: Callable[[int, int], None], threads: int | None = None
) -> list[T]:
    """What `function(thing, check)` gives for each thing; threads None: one a core.

    `check` raises as soon as a result is no longer wanted, and is to be called now and then. `told` is called with
    (done, total) whenever some are done, and several times a second. If it raises, or a function does, the others are
    ended.
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


def each_clip(
    function: Callable[[Clip, Read], T], clips: Sequence[Clip], told: Callable[[int, int], None]
) -> tuple[list[Clip], list[T], list[Problem]]:
    """The clips that can be used, what `function(clip, read)` gives for each, and what is wrong with the others; `read`
    is read_image, for as long as its result is wanted."""

    def attempt(clip: Clip, check: Check) -> T | Problem:
        def read(path: Path) -> MatLike:
            check()
            return read_image(path)

        try:
            return function(clip, read)
        except DataError as error:
            return Problem(clip.id, str(error))
        except OSError as error:
            return Problem(clip.id, f"cannot read {error.filename} ({error.strerror})")

    found = list(zip(clips, in_threads(attempt, clips, told), strict=True))
    kept = [(clip, item) for clip, item in found if not isinstance(item, Problem)]
    problems = [item for _, item in found if isinstance(item, Problem)]
    return [clip for clip, _ in kept], [item for _, item in kept], problems
