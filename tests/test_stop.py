"""How commands are stopped, and that their other processes do not hear the signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest
from stop_campaign import LINE, Command, unfinished

from mer_search.data.synthetic.dataset import write_dataset
from mer_search.data.threads import in_threads
from mer_search.files import HOST
from mer_search.processes import shielded

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


def _start(text: str, *arguments: object) -> subprocess.Popen:
    """A program in a group of its own."""
    head = "import hashlib, multiprocessing, os, sys, time\nfrom mer_search.engine.stop import *\n"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", head + text, *map(str, arguments)]
    return subprocess.Popen(command, start_new_session=True, **pipes)


SWALLOWED = """
class Finalised:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))

def check_twice():
    for _ in range(2):
        try:
            check()
        except Stopped:
            print("noticed")

try:
    with stoppable():
        if sys.argv[2] == "finaliser":
            Finalised()
            check_twice()
            raise ValueError("what a stop has broken")
        with polling():
            os.kill(os.getpid(), int(sys.argv[1]))
            os.kill(os.getpid(), int(sys.argv[1]))  # as `timeout` does
            time.sleep(0.1)
            check_twice()
        print("not reached")
except KeyboardInterrupt as stop:
    sys.exit(exit_code(stop))
"""


@SIGNALS
@pytest.mark.parametrize("where", ["finaliser", "polling"])
def test_a_stop_is_noticed_at_each_check_also_where_a_finaliser_swallowed_it(number, where):
    process = _start(SWALLOWED, number, where)
    out, _ = process.communicate(timeout=10)
    assert (out, process.returncode) == ("noticed\n" * 2, 128 + number)


DEAF = """
from pathlib import Path
from mer_search import files

files.os.fsync = lambda _: time.sleep(100)
with stoppable():
    multiprocessing.get_context("spawn").Process(target=time.sleep, args=(100,)).start()
    try:
        if sys.argv[1] == "writing":
            with polling():
                print("ready", flush=True)
                files.write_whole(Path(sys.argv[2]) / "file", "")
        print("ready", flush=True)
        time.sleep(100)
    finally:
        if sys.argv[1] == "cleaning up":
            time.sleep(100)
        if sys.argv[1] == "in C":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@SIGNALS
@pytest.mark.parametrize("where", ["writing", "cleaning up", "in C"])
def test_a_second_signal_ends_a_process_and_its_children_whatever_the_main_thread_does(tmp_path, number, where):
    process = _start(DEAF, where, tmp_path)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None
    assert len(unfinished(tmp_path)) == (where == "writing")
    process.send_signal(number)
    _, err = process.communicate(timeout=5)  # ends when the child has ended, too
    assert (process.returncode, err) == (128 + number, f"\n{LINE}\n")
    assert unfinished(tmp_path) == []


WAITING = """
import os, signal, sys, time
from mer_search import processes

def blocked(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("SigBlk")).split()[1], 16)

def watched(pid):
    processes.leave_with_parent()
    print(os.getpid(), blocked(os.getpid()), blocked(os.getppid()), flush=True)
    os.kill(pid, signal.SIGKILL)
    time.sleep(60)

if __name__ == "__main__":
    processes.PRELOADED = []
    child = processes.forked().Process(target=watched, args=(os.getpid(),))
    child.start()
    child.join()
"""


def test_workers_and_their_server_hear_neither_signal_and_end_when_their_parent_was_killed(tmp_path):
    (tmp_path / "waiting.py").write_text(WAITING)
    parent = subprocess.Popen([sys.executable, tmp_path / "waiting.py"], stdout=subprocess.PIPE)
    child, *blocked = map(int, parent.stdout.readline().split())
    parent.communicate()
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert parent.returncode == -signal.SIGKILL
    assert not os.path.exists(f"/proc/{child}")
    assert blocked == [1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1] * 2


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


def _draw(folder, terminal: bool) -> Command:
    """A command that has begun to draw clips."""
    command = Command(folder, "data", "synth", "set", terminal=terminal)
    end = time.monotonic() + 60
    while not list(folder.glob(".set.*/Cropped/*/*/*.jpg")) and time.monotonic() < end:
        command.read(0.05)
    return command


def test_ctrl_c_in_a_terminal_while_clips_are_drawn_is_one_line_and_leaves_nothing(tmp_path):
    command = _draw(tmp_path, terminal=True)
    command.press(b"\x03")
    assert command.end() == 130
    assert command.output.count(LINE) == 1 and "Traceback" not in command.output
    assert (command.left(), unfinished(tmp_path)) == ([], [])


@pytest.mark.parametrize(("number", "apart"), [(signal.SIGINT, 0.05), (signal.SIGTERM, 0.3)])
def test_two_stops_of_a_group_while_clips_are_drawn_leave_nothing(tmp_path, number, apart):
    command = _draw(tmp_path, terminal=False)
    command.stop(number, group=True)
    command.read(apart)
    command.stop(number, group=True)
    assert command.end() == 128 + number
    assert command.output.count(LINE) == 1 and "Traceback" not in command.output
    assert (command.left(), unfinished(tmp_path)) == ([], [])


def test_what_a_killed_process_left_of_a_dataset_is_deleted_when_the_next_is_written(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive, gone = (tmp_path / f".set.{HOST}-{pid}.part" for pid in (os.getppid(), dead.pid))
    for folder in (alive, gone):
        folder.mkdir()
        (folder / "image").touch()
    write_dataset(tmp_path / "set", subjects=(22,), height=64, width=64)
    assert set(tmp_path.iterdir()) == {alive, tmp_path / "set"}


def test_threads_end_soon_when_their_results_are_no_longer_wanted():
    begun, ended = [], []

    def work(thing, check):
        begun.append(thing)
        try:
            for _ in range(100):
                time.sleep(0.05)
                check()
        except CancelledError:
            ended.append(thing)
            raise

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # before the first is done
        in_threads(work, range(100), stop, threads=3)
    assert begun == [0, 1, 2] and sorted(ended) == begun
