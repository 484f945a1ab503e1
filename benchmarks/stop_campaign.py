"""Commands that are stopped at random moments of each stage: does any hang, or leave something behind?

    PYTHONPATH=tests python benchmarks/stop_campaign.py --times 10

Half of the stops are one signal, half are two, .05 to 1 s apart: SIGINT or SIGTERM, to the command alone or to its
group, in a terminal or not. Everything is real, but small.
"""

import argparse
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from small import STUDY, write_flow_images

from mer_search.data.synthetic.dataset import write_dataset

IN_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
START = "from mer_search.cli import main; main(prog_name='mer-search')"
LINE = "stopped; the same command goes on from here"
HANG = 15  # seconds after the last signal
LONG = STUDY.replace('"train.epochs" = 2', '"train.epochs" = 60')


class Stage(NamedTuple):
    """When a command is stopped: so many seconds at most after it has written something."""

    arguments: str
    written: str
    seconds: float
    delete: str = ""  # before it is called: what would spare it the work


RUN = "run --study long.toml --trials 1000 --out runs --storage sqlite:///long.db --slots 2 --device cpu"
CONFIRM = "confirm --trial 0 --against none --out runs --storage sqlite:///small.db --slots 2 --device cpu"
STAGES = {
    "drawing": Stage(RUN, "making synthetic clips", 2, "cache"),
    "measuring": Stage(f"{RUN} --data clips", "clips and their motion", 2, "cache"),
    "training": Stage(f"{RUN} --data flow", "cost:", 3),
    "confirming": Stage(f"{CONFIRM} --seeds 100", "cost:", 3),
    "scoring": Stage(f"{CONFIRM} --seeds 1", "scoring", 1, "runs/small/confirm/baselines-*"),
    "reporting": Stage("report --storage sqlite:///small.db", "", 4),
}


class Command:
    """mer-search in a process group of its own, in a terminal or not, and what it writes."""

    def __init__(self, folder: Path, *arguments: object, terminal: bool = False) -> None:
        self.output = ""
        self._ours, theirs = os.openpty() if terminal else os.pipe()
        code, given = (IN_TERMINAL if terminal else "") + START, map(str, arguments)
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "100"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *given],
            cwd=folder,
            env=environment,
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def read(self, seconds: float, until: str | None = None) -> None:
        """Read for so long, or until it has written that, or has ended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self.process.poll() is None:
            if until is not None and until in self.output:
                return
            self._take(min(left, 0.05))

    def _take(self, seconds: float) -> bool:
        try:
            found = os.read(self._ours, 1 << 16) if select.select([self._ours], [], [], seconds)[0] else b""
        except OSError:  # a terminal that nobody has open any more
            found = b""
        self.output += found.decode(errors="replace")
        return bool(found)

    def stop(self, number: int, group: bool = False) -> None:
        """Send a signal to the process, or to its group, unless it has ended."""
        if self.process.poll() is None:
            (os.killpg if group else os.kill)(self.process.pid, number)

    def press(self, key: bytes) -> None:
        """In its terminal."""
        os.write(self._ours, key)

    def end(self) -> int | None:
        """Its exit code as a shell has it; None if it hung, and was killed."""
        self.read(HANG)
        hung = self.process.poll() is None
        if hung:
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        while self._take(0.1):
            pass
        os.close(self._ours)
        return None if hung else code if code >= 0 else 128 - code

    def left(self, seconds: float = 10) -> list[str]:
        """Processes of its group that are there so long after its end."""
        end = time.monotonic() + seconds
        while (found := self._group()) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def _group(self) -> list[str]:
        lines = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True).stdout.splitlines()
        rows = [line.split(maxsplit=2) for line in lines]
        return [row[2] for row in rows if row[0] == str(self.process.pid) and not row[1].startswith("Z")]


def unfinished(folder: Path) -> list[Path]:
    """Files and folders that are not whole."""
    return [path for kind in ("part", "partial") for path in folder.rglob(f".*.{kind}")]


class Campaign:
    """A folder in which commands are stopped, and what was found wrong there."""

    def __init__(self, folder: Path, luck: random.Random) -> None:
        self.folder, self.luck = folder, luck
        self.counts: Counter[tuple[str, str]] = Counter()
        self.slowest: dict[tuple[str, int], float] = {}
        self.wrong: list[str] = []

    def prepare(self) -> None:
        """Datasets, and a confirmed study."""
        write_flow_images(self.folder / "flow")
        write_dataset(self.folder / "clips")
        for name in ("small", "long"):
            (self.folder / f"{name}.toml").write_text(LONG)
        small = RUN.replace("long", "small").replace("1000", "2") + " --data flow"
        for line in (small, STAGES["scoring"].arguments):
            assert self._end(line) == 0, line

    def _end(self, line: str) -> int | None:
        command = Command(self.folder, *line.split())
        command.read(600)
        return command.end()

    def stop(self, name: str) -> None:
        """Stop a command once or twice in a stage."""
        stage, twice, group, terminal = STAGES[name], *(self.luck.random() < 0.5 for _ in range(3))
        number, apart = self.luck.choice((signal.SIGINT, signal.SIGTERM)), self.luck.uniform(0.05, 1)
        for path in self.folder.glob(stage.delete) if stage.delete else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        command = Command(self.folder, *stage.arguments.split(), terminal=terminal)
        command.read(120, stage.written)
        command.read(self.luck.uniform(0, stage.seconds))
        ended = command.process.poll() is not None
        command.stop(number, group)
        if twice:
            command.read(apart)
            command.stop(number, group)
        began = time.monotonic()
        code, key = command.end(), (name, 1 + twice)
        self.slowest[key] = max(self.slowest.get(key, 0), time.monotonic() - began)
        found = {
            "hang": code is None,
            "code": code not in ({0} if ended else {None, 128 + number}),
            "words": "Traceback" in command.output or command.output.count(LINE) != (not ended),
            "processes": bool(left := command.left()),
            "files": bool(files := unfinished(self.folder)),
            "ended before": ended,
        }
        self.counts.update((name, what) for what, is_so in found.items() if is_so)
        if wrong := [what for what, is_so in found.items() if is_so and what != "ended before"]:
            how = f"{name}, {number.name} {f'twice, {apart:.2f} s apart' if twice else 'once'}, {group=}, {terminal=}"
            self.wrong.append(f"{how}: {wrong}, {code=}, {left}, {files}\n{command.output[-3000:]}")

    def check(self, study: str) -> None:
        """Whether what is stored agrees."""
        if (code := self._end(f"verify --storage sqlite:///{study}.db")) != 0:
            self.wrong.append(f"verify of {study} ended with {code}")


KINDS = ("hang", "code", "words", "processes", "files", "ended before")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="stops of each stage")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with TemporaryDirectory() as root:
        campaign = Campaign(Path(root), random.Random(asked.seed))
        campaign.prepare()
        print(f"{'stage':12}{'stops':>6}" + "".join(f"{kind:>14}" for kind in KINDS) + "  slowest of one, of two")
        for name in asked.stages:
            for _ in range(asked.times):
                campaign.stop(name)
            counts = "".join(f"{campaign.counts[name, kind]:14}" for kind in KINDS)
            slowest = ", ".join(f"{campaign.slowest.get((name, times), 0):.1f} s" for times in (1, 2))
            print(f"{name:12}{asked.times:6}{counts}  {slowest}", flush=True)
        campaign.check("small")
        if "training" in asked.stages:
            campaign.check("long")
    print("\n".join(campaign.wrong) or "nothing was wrong")
    sys.exit(1 if campaign.wrong else 0)


if __name__ == "__main__":
    main()
