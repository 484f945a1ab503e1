"""How the program's processes start: forked from a server that has loaded torch before, on two cores while the command
loads it, too."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, parent_process, resource_tracker
from multiprocessing.context import ForkServerContext
from types import ModuleType

PRELOADED = ["mer_search.engine.local", "torch._dynamo"]  # an optimiser loads the latter, which takes as long as torch


@contextmanager
def shielded() -> Iterator[None]:
    """A process that is started within, by this thread, hears neither SIGINT nor SIGTERM, nor do those that it starts:
    the command ends them. What comes for this thread meanwhile comes afterwards."""
    resource_tracker.ensure_running()  # which every first start does itself, and then unblocks both signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def warm_up(*modules: str) -> None:
    """Have the server started, if it is not, and load what its processes need, and these modules, meanwhile."""
    get_context("forkserver").set_forkserver_preload([*PRELOADED, *modules])
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")  # pages of 2 MB: small trials take 6 % less time
    with shielded():
        forkserver.ensure_running()


def forked() -> ForkServerContext:
    """What starts processes that train: they are shielded, and do not have this one's cores and environment."""
    warm_up()
    return get_context("forkserver")


@contextmanager
def without_main() -> Iterator[None]:
    """A process that is started within does not import the main module again: in a user's script without
    `if __name__ == "__main__":` that would start a search in each process."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def leave_with_parent() -> None:
    """End this process as soon as its parent has ended, however that was: it would wait for its word for ever."""

    def leave() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
