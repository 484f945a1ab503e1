import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from mer_search.processes import Terminated, exit_code, shielded, stoppable


class Finalised:
    """What the garbage collector ends, and a signal that comes in the middle of that."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        time.sleep(0)  # the handler runs here


def _stopped(send, number):
    """Five seconds of work, at whose start a signal is sent."""
    with stoppable():
        send(number)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            pass


@pytest.mark.parametrize(
    ("number", "stop", "code"), [(signal.SIGINT, KeyboardInterrupt, 130), (signal.SIGTERM, Terminated, 143)]
)
def test_a_signal_stops_work_also_where_a_finaliser_swallows_it(number, stop, code):
    for send in (partial(os.kill, os.getpid()), Finalised):
        with pytest.raises(KeyboardInterrupt) as caught:
            _stopped(send, number)
        assert (type(caught.value), exit_code(caught.value)) == (stop, code)


def test_what_a_finaliser_raises_is_still_told_and_handlers_come_back(capsys, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]

    class Broken:
        def __del__(self):
            raise ValueError("a defect")

    with stoppable():
        Broken()
    assert [str(each.exc_value) for each in told] == ["a defect"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == handlers
    Broken()
    assert len(told) == 2


def test_a_shielded_process_hears_neither_signal_and_its_parent_hears_them_afterwards():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("parent"))
    try:
        with shielded():
            child = subprocess.Popen([sys.executable, "-c", "input(); print('alive')"], stdin=-1, stdout=-1)
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            assert heard == []
        assert heard == ["parent"]
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)
        assert child.communicate(b"\n")[0] == b"alive\n"
        assert child.returncode == 0
    finally:
        signal.signal(signal.SIGTERM, before)


WAITING = """
import os, signal, sys, time
from mer_search.processes import elsewhere

def parent_dies(pid):
    print(os.getpid(), flush=True)
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)

if __name__ == "__main__":
    elsewhere(parent_dies, [os.getpid(), os.getpid()])
"""


def test_a_process_that_waits_for_a_parent_that_was_killed_ends(tmp_path):
    (tmp_path / "waiting.py").write_text(WAITING)
    parent = subprocess.Popen([sys.executable, tmp_path / "waiting.py"], stdout=-1)
    child = int(parent.stdout.readline())
    parent.communicate()
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert parent.returncode == -signal.SIGKILL
    assert not os.path.exists(f"/proc/{child}")
