"""What a trial costs beside its training when many came before it.

    python benchmarks/growth.py 100 1000 5000
    python benchmarks/growth.py 0 --timed 2000  # does anything grow through thousands of trials in one process?

Trials train nothing: their folds are random probabilities, and a trial's time is that between the ends of two, in one
search. Those that came before are written into the database at once, as rows of Optuna's own tables, for trial by trial
it would take hours. So memory and time of the trials after them are what a study of that length has.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState

from mer_search.bench import overhead
from mer_search.engine.task import Finished
from mer_search.evaluation.predictions import Predictions
from mer_search.search import space, study
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import open_storage
from mer_search.search.trial import Search

FACTS = {"gflop": 1.0, "parameters": 10, "bytes": 100, "fold_epochs": [160, 160]}  # as a trial leaves them


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


def fill(opened: optuna.Study, file: space.StudyFile, storage: optuna.storages.RDBStorage, count: int) -> None:
    """Write so many trials, none of which is good, into the storage."""
    waiting, now = len(opened.get_trials()), datetime.now()
    draws = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    whole, values, params, facts, steps = [], [], [], [], []
    for number in range(waiting, waiting + count):
        trial, key = draws.ask(), {"trial_id": 1000 + number}  # ids that are free
        file.suggest(trial)
        times = {"datetime_start": now, "datetime_complete": now}
        whole.append({**key, "number": number, "study_id": opened._study_id, "state": TrialState.COMPLETE, **times})
        finite = models.TrialValueModel.TrialValueType.FINITE
        values.append({**key, "objective": 0, "value": 1e-6 * number, "value_type": finite})
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            text = distribution_to_json(kind)
            params.append(
                {**key, "param_name": name, "param_value": kind.to_internal_repr(value), "distribution_json": text}
            )
        facts += [{**key, "key": name, "value_json": json.dumps(value)} for name, value in FACTS.items()]
        finite = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
        steps += [
            {**key, "step": step, "intermediate_value": 0.2, "intermediate_value_type": finite} for step in range(20)
        ]
    tables = {
        models.TrialModel: whole,
        models.TrialValueModel: values,
        models.TrialParamModel: params,
        models.TrialUserAttributeModel: facts,
        models.TrialIntermediateValueModel: steps,
    }
    with storage.engine.begin() as connection:
        for model, rows in tables.items():
            connection.execute(sqlalchemy.insert(model.__table__), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=int, nargs="+", help="trials that came before")
    parser.add_argument("--timed", type=int, default=15, help="trials that are timed")
    options = parser.parse_args()
    if len(options.before) > 1:  # each in a process of its own, whose memory can be told
        for before in options.before:
            subprocess.run([sys.executable, __file__, str(before), "--timed", str(options.timed)], check=True)
        return
    (before,) = options.before
    file, loaded = space.load("demo"), overhead.load_demo(lambda *progress: None)
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        search = Search(file, loaded, loaded.select(file.subjects), 0, Path(folder) / "runs")
        storage = open_storage(url, create=True)
        fill(study.open_study(search, storage, "demo"), file, storage, before)
        opened = study.open_study(search, open_storage(url), "demo")
        executor, ends = Nothing(loaded), []
        for event in study.run(search, opened, Scheduler(executor, 1), before + 5 + options.timed):
            if isinstance(event, study.Told):
                ends.append(time.perf_counter())
        seconds = [after - before_it for before_it, after in pairwise(ends)]
        timed, files = seconds[4:], len(os.listdir("/proc/self/fd"))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        command = [sys.executable, "-m", "mer_search.cli", "status", "--storage", url]
        subprocess.run(command, check=True, capture_output=True)
        print(
            f"{before} trials before: {statistics.median(timed):.2f} s a trial ({min(timed):.2f} to {max(timed):.2f}), "
            f"the last tenth {statistics.median(timed[-max(1, len(timed) // 10) :]):.2f} s, {memory:.0f} MB at most, "
            f"{files} open files; status {time.perf_counter() - start:.2f} s"
        )


if __name__ == "__main__":
    main()
