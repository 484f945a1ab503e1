"""A confirmation whose folds several workers train, on one machine or on many, killed ones included."""

import csv
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest
import sqlalchemy
from conftest import STUDY, silent

from mer_search.search import space, workers
from mer_search.search.claims import LOOK_AGAIN, open_claims
from mer_search.search.confirm import Confirmation, Target, confirm
from mer_search.search.storage import open_storage
from mer_search.search.workers import Crew, confirm_all
from mer_search.search.workspace import load_data

ALL = [(seed, f"sub0{k}") for seed in (1000, 1001) for k in (1, 2, 3, 4)]


@pytest.fixture
def job(flow_folder, tmp_path):
    """A network on four subjects, with two seeds."""
    run = space.parse(STUDY, "small").base
    loaded = load_data(flow_folder, run, silent)
    return Confirmation(Target(run, "small", tmp_path / "small"), loaded, loaded.select("all"), (1000, 1001))


def _kept(job):
    assert [(fold.seed, fold.subject) for fold in job.folds] == ALL
    with (job.store / "history.csv").open() as file:
        return Counter((int(row["seed"]), row["subject"]) for row in csv.DictReader(file))


def _die_once(folder, jobs, url, device, real=workers._confirm):
    """What a worker does; the first one to come here kills itself when a fold is on disk."""
    with suppress(FileExistsError):
        (folder / "died").touch(exist_ok=False)
        threading.Thread(target=_die, args=(jobs,), daemon=True).start()
    real(jobs, url, device)


def _die(jobs):
    while len(jobs[0].missing) == len(ALL):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_share_folds_and_a_killed_one_is_replaced(job, postgres, tmp_path, monkeypatch):
    said, told = [], []
    monkeypatch.setattr(workers, "_confirm", partial(_die_once, tmp_path))
    confirm_all(
        [job], "cpu", lambda what, done, total: told.append(done), lambda *_: None, Crew(2, postgres, said.append)
    )
    assert told == list(range(1, 9))
    assert _kept(job) == dict.fromkeys(ALL, job.loaded.run.train.epochs)
    assert len(said) == 1
    assert said[0].endswith("died (SIGKILL); another takes its place")
    assert len(list((job.store / "checkpoints").glob("*.safetensors"))) == 4


def test_who_confirms_the_same_trains_what_others_do_not_and_waits_for_them(job, pool, postgres):
    claims_of = partial(open_claims, open_storage(postgres))
    told = []
    with claims_of(job.digest) as elsewhere:
        with elsewhere.folds(ALL, 1) as theirs:
            assert list(theirs) == ALL[:1]
            here = threading.Thread(
                target=confirm, args=([job], pool, lambda *progress: told.append(progress), claims_of)
            )
            here.start()
            here.join(2 * LOOK_AGAIN)
            while len(job.missing) > 1:
                here.join(LOOK_AGAIN)
            assert job.missing == theirs
            assert here.is_alive()
        here.join()
    assert _kept(job) == dict.fromkeys(ALL, job.loaded.run.train.epochs)
    assert [done for _, done, _ in told] == list(range(1, 9))


def test_machines_that_start_together_on_an_empty_database_make_its_tables_once(postgres):
    url = sqlalchemy.make_url(postgres)
    with sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE together"))
    together = url.set(database="together").render_as_string(hide_password=False)
    with ThreadPoolExecutor(4) as machines:
        assert len(list(machines.map(open_storage, [together] * 4))) == 4
