"""Many workers on one PostgreSQL, some of them killed: is a trial lost or doubled? Run it: python tests/many_workers.py

Every trial is a real one, but tiny: four people, 24 flow images, one epoch of a very small network. What is tried
here is who trains what, not how well.
"""

import argparse
import multiprocessing
import os
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from conftest import STUDY, silent, write_flow_images

from mer_search.search import space
from mer_search.search.crew import places
from mer_search.search.postgres import start
from mer_search.search.storage import open_storage
from mer_search.search.study import Search, Watcher, open_study, trial_folder
from mer_search.search.workers import Job, run_workers
from mer_search.search.workspace import load_data
from mer_search.training.predictions import load


class Log(Watcher):
    """Writes down which process takes which trial, and which folds are finished."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, -1

    def trial(self, number, done, values):
        self.number = number
        self._write(f"taken {number}")

    def fold(self, subject, done, of, uf1_so_far):
        self._write(f"fold {self.number} {subject} {done}")

    def _write(self, line):
        with self.path.open("a") as file:
            file.write(line + "\n")


class Killing(Watcher):
    """Kills a worker when so many trials have ended."""

    def __init__(self, at: list[int]) -> None:
        self.at, self.told_of = at, []

    def told(self, trial, best):
        self.told_of.append(trial.number)
        if len(self.told_of) in self.at:
            workers = [process for process in multiprocessing.active_children() if not process.daemon]
            os.kill(workers[len(self.told_of) % len(workers)].pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("workers", 8), ("trials", 200), ("enqueued", 20), ("kills", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        write_flow_images(root / "flow")
        text = STUDY.replace('"train.epochs" = 2', '"train.epochs" = 1').split("[[start]]")[0].replace("random", "tpe")
        file = space.parse(text, "many")
        loaded = load_data(root / "flow", file.base, silent)
        search = Search(file, loaded, loaded.select("all"), 0, root / "runs" / "many")
        url = start(root / "postgres", create=True)
        study = open_study(search, open_storage(url), "many")
        rates = [round(0.002 + k / 10000, 4) for k in range(asked.enqueued)]
        for rate in rates:
            study.enqueue_trial({"train.lr": rate, "input.components": "uv"})
        live = Killing([asked.trials * (k + 1) // (asked.kills + 1) for k in range(asked.kills)])
        job = Job(search, url, "many", asked.trials, Log(root / "log"))
        began = time.monotonic()
        run_workers(job, study, places("cpu", asked.workers), live, print)
        took = time.monotonic() - began
        trials = study.get_trials()
        lines = (root / "log").read_text().splitlines()
        taken = Counter(line for line in lines if line.startswith("taken"))
        folds = [len(load(trial_folder(search.out, trial.number) / "predictions.npz")) for trial in trials]
        print(f"{asked.workers} workers, {asked.trials} trials, {asked.kills} workers killed: {took:.0f} s")
        print("states:", dict(Counter(trial.state.name for trial in trials)), "of", len(trials))
        print("shown as ended, each once:", sorted(live.told_of) == list(range(asked.trials)))
        print("enqueued, run once and first:", [trial.params["train.lr"] for trial in trials[: len(rates)]] == rates)
        print("folds of each trial:", dict(Counter(folds)))
        print("trials by how often they were taken up:", dict(Counter(taken.values())))


if __name__ == "__main__":
    main()
