"""Workers on one PostgreSQL through thousands of trials that train nothing: does anything grow? Run it, on a quiet
machine: python tests/soak.py --trials 2000 --workers 4

Each worker notes, after each of its trials, how long it took, its memory and how many files it has open.
"""

import argparse
import os
import statistics
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from growth import Nothing

from mer_search.search import overhead, space
from mer_search.search.crew import employ, places
from mer_search.search.postgres import start
from mer_search.search.storage import open_storage
from mer_search.search.study import Search, Watcher, open_study, run


class Meter(Watcher):
    """Notes a line a trial: its number, seconds, memory in MB, open files."""

    def __init__(self, path: Path) -> None:
        self.path, self.began = path, time.monotonic()

    def told(self, trial, best):
        memory = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        took, self.began = time.monotonic() - self.began, time.monotonic()  # the choice of values counted in
        line = f"{trial.number} {took} {memory} {len(os.listdir('/proc/self/fd'))}\n"
        with self.path.open("a") as file:
            file.write(line)


def work(search: Search, url: str, trials: int, log: Path, device: str) -> None:
    study = open_study(search, open_storage(url), "soak")
    run(search, study, Nothing(search.loaded), trials, Meter(log))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=4)
    asked = parser.parse_args()
    file, loaded = space.load("demo"), overhead.load_demo(lambda *progress: None)
    with TemporaryDirectory() as folder:
        root, began = Path(folder), time.monotonic()
        search, log = Search(file, loaded, loaded.select(file.subjects), 0, root / "runs"), root / "log"
        url = start(root / "postgres", create=True)
        open_study(search, open_storage(url), "soak")
        employ(partial(work, search, url, asked.trials, log), places("cpu", asked.workers), lambda: None, print, root)
        rows = sorted(tuple(map(float, line.split())) for line in log.read_text().splitlines())
        print(f"{len(rows)} trials, {asked.workers} workers, {time.monotonic() - began:.0f} s")
        tenth = len(rows) // 10
        for name, part in (("first", rows[tenth : 2 * tenth]), ("last", rows[-tenth:])):  # the very first load torch
            _, seconds, memory, files = zip(*part, strict=True)
            print(
                f"{name} {tenth}: {statistics.median(seconds):.2f} s a trial, {statistics.median(memory):.0f} MB a "
                f"worker ({max(memory):.0f} at most), {min(files):.0f} to {max(files):.0f} open files"
            )


if __name__ == "__main__":
    main()
