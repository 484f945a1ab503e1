"""What a trial costs beside its training when many came before it.

    python benchmarks/growth.py 100 1000 5000
    python benchmarks/growth.py 0 --timed 2000  # does anything grow through thousands of trials in one process?

Trials train nothing: their folds are random probabilities, and a trial's time is that between the ends of two, in one
search as `mer-search run` makes it, its pictures and notes apart from all else. Those that came before are added to the
study without being run: minutes for thousands of them. So memory and time of the trials after them are what a study of
that length has.
"""

import argparse
import gc
import os
import resource
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import optuna

from mer_search.bench.benchmark import load_demo
from mer_search.cli.options import OBJECTS
from mer_search.engine.task import Finished
from mer_search.evaluation.predictions import Predictions
from mer_search.report import live
from mer_search.search import space, study
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import open_storage
from mer_search.search.trial import Search
from mer_search.search.workspace import silent

FACTS = {"gflop": 1.0, "parameters": 10, "fold_epochs": [160, 160]}  # as a trial leaves them


class Nothing:
    """An executor that trains nothing."""

    slots = 1

    def __init__(self, loaded):
        self.loaded, self.people, self.random = loaded, np.array(loaded.subjects), np.random.default_rng(0)
        self.tasks, self.free = [], 1

    def put(self, *_):
        pass

    discard = cancel = keep_only = put

    def submit(self, task):
        self.task, self.free = task, 0

    def poll(self):
        task, classes = self.task, len(self.loaded.run.data.classes)
        own = np.flatnonzero(self.people == task.subject)
        chances = self.random.dirichlet(np.ones(classes), (task.epochs, len(own))).astype(np.float16)
        names, labels = tuple(self.loaded.clips[k].id for k in own), self.loaded.labels[own]
        self.free = 1
        return [Finished(task, Predictions(task.seed, task.subject, names, labels, chances), [])]


def fill(opened: optuna.Study, file: space.StudyFile, count: int) -> None:
    """Add so many trials, none of which is good, to a study."""
    draws = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(count):
        file.suggest(trial := draws.ask())
        told = {"value": 1e-6 * number, "user_attrs": FACTS, "intermediate_values": dict.fromkeys(range(20), 0.2)}
        opened.add_trial(optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, **told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=int, nargs="+", help="trials that came before")
    parser.add_argument("--timed", type=int, default=15, help="trials that are timed")
    options = parser.parse_args()
    if len(options.before) > 1:  # each in a process of its own, whose memory can be told
        for before in options.before:
            subprocess.run([sys.executable, __file__, str(before), "--timed", str(options.timed)], check=True)
        return
    (before,), showing = options.before, 0.0
    file, loaded = space.load("demo"), load_demo(silent)
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        search = Search(file, loaded, loaded.select(file.subjects), 0, Path(folder) / "runs")
        fill(study.open_study(search, open_storage(url, create=True), "demo"), file, before)
        opened = study.open_study(search, open_storage(url), "demo")
        gc.set_threshold(OBJECTS)
        live.err.quiet, wanted = True, before + 5 + options.timed
        shown, executor, ends = live.Live(opened, wanted, before, search.out / "artifacts"), Nothing(loaded), []
        for event in study.run(search, opened, Scheduler(executor, 1), wanted):
            start = time.perf_counter()
            shown.show(event)
            showing += time.perf_counter() - start
            if isinstance(event, study.Told):
                ends.append((time.perf_counter(), showing))
        spans = [(after - since, drawn - before_it) for (since, before_it), (after, drawn) in pairwise(ends[4:])]
        timed, files = [whole - showing for whole, showing in spans], len(os.listdir("/proc/self/fd"))
        pictures = statistics.median(showing for _, showing in spans)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        command = [sys.executable, "-m", "mer_search.cli", "status", "--storage", url]
        subprocess.run(command, check=True, capture_output=True)
        print(
            f"{before} trials before: {statistics.median(timed):.2f} s a trial ({min(timed):.2f} to {max(timed):.2f}) "
            f"and {pictures:.2f} s for its pictures and notes, "
            f"the last tenth {statistics.median(timed[-max(1, len(timed) // 10) :]):.2f} s, {memory:.0f} MB at most, "
            f"{files} open files; status {time.perf_counter() - start:.2f} s"
        )


if __name__ == "__main__":
    main()
