"""Disks that are full, folders that move, databases that go away: nothing is lost, and the same call goes on."""

import re
import shutil
import socket
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from uuid import uuid4

import optuna
import pytest
import sqlalchemy
from click.testing import CliRunner
from conftest import STUDY, Counting, fill, silent
from optuna.trial import TrialState

from mer_search import cli
from mer_search.errors import DataError, DiskError, Infeasible, StorageError, UnreachableError
from mer_search.search import claims, space, workers
from mer_search.search import storage as storages
from mer_search.search import study as studies
from mer_search.search.claims import failed_last, open_claims, persist
from mer_search.search.confirm import Confirmation, Target, trial_target
from mer_search.search.crew import places
from mer_search.search.postgres import start
from mer_search.search.storage import only_trainer, open_storage
from mer_search.search.study import Search, Watcher, open_study, run, trial_folder
from mer_search.search.workers import ALONE, Job, confirm_all, run_workers
from mer_search.search.workspace import load_data
from mer_search.training.loso import PREDICTIONS
from mer_search.training.predictions import load


class Then(Counting):
    """Does something, once, when so many folds are finished."""

    def __init__(self, folds, what):
        super().__init__()
        self.when, self.what = folds, what

    def fold(self, subject, done, of, uf1_so_far):
        super().fold(subject, done, of, uf1_so_far)
        if self.folds == self.when:
            self.what()


def _at(search: Search, out: Path) -> Search:
    return Search(search.file, search.loaded, search.subjects, search.seed, out)


def _states(study):
    return [trial.state.name for trial in study.get_trials()]


# Disks


def test_a_disk_that_is_full_in_the_middle_of_a_trial_costs_the_folds_that_did_not_fit(
    storage, pool, make_search, small_disk
):
    class Filling(Counting):
        def epoch(self, epoch, of):
            super().epoch(epoch, of)
            if self.epochs == 5:  # of a third fold: one of the first two is kept, and one at least is not
                fill(disk)

    disk = small_disk(400_000)
    search = _at(make_search(), disk / "small")
    study = open_study(search, storage, "small")
    with pytest.raises(DiskError, match="make room"):
        run(search, study, pool, 1, Filling())
    assert _states(study) == ["WAITING"]
    kept = len(load(trial_folder(search.out, 0) / PREDICTIONS))
    (disk / "ballast").unlink()
    watcher = Counting()
    run(search, study, pool, 1, watcher)
    assert _states(study) == ["COMPLETE"]
    assert kept >= 1
    assert watcher.epochs == (4 - kept) * 2
    assert list(disk.rglob("*.partial")) == []


def test_a_disk_that_is_full_in_the_middle_of_a_confirmation_leaves_no_broken_checkpoint(
    flow_folder, pool, small_disk, monkeypatch
):
    disk, base = small_disk(400_000), space.parse(STUDY, "small").base
    loaded = load_data(flow_folder, base, silent)
    job = Confirmation(Target(base, "small", disk / "small"), loaded, loaded.select("all"), (1000, 1001, 1002))
    confirming = partial(confirm_all, [job], "cpu", announce=lambda *_: None, crew=ALONE)
    with pytest.raises(DiskError, match="make room"):
        confirming(lambda what, done, total: fill(disk))
    (disk / "ballast").unlink()
    assert 1 <= 12 - len(job.missing) < 12
    folds = confirming(silent)
    assert [fold.subject for fold in folds[0]] == list(job.subjects) * 3
    assert len(list((job.store / "checkpoints").iterdir())) == 4
    assert list(disk.rglob("*.partial")) == []


def test_a_flow_store_that_is_full_is_one_line_and_goes_on_when_there_is_room(flow_folder, small_disk, monkeypatch):
    disk, base = small_disk(60_000), space.parse(STUDY, "small").base
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    with pytest.raises(DataError, match=r"^the flow store .* No space left on device.* set XDG_CACHE_HOME") as caught:
        load_data(flow_folder, base, silent)
    assert "\n" not in str(caught.value)
    there = {path: path.stat().st_mtime_ns for path in disk.rglob("*.motion")}
    assert there
    subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
    assert len(load_data(flow_folder, base, silent).clips) == 24
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert list(disk.rglob("*.partial")) == []


def test_a_folder_that_cannot_be_written_is_one_line_of_every_command(flow_folder, tmp_path, small_disk, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(STUDY)
    disk = small_disk(100_000)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    run_there = ["run", "--study", "small.toml", "--data", str(flow_folder)]
    for options in (["--out", f"{disk}/runs"], ["--storage", f"sqlite:///{disk}/study.db"]):
        refused = CliRunner().invoke(cli.main, run_there + options)
        assert refused.exit_code == 1, refused.output
        assert re.search(r"^error: \S+ must be usable, but is not \(Read-only file system\)", refused.stderr, re.M)


def test_a_database_whose_disk_is_full_is_one_line_and_goes_on_when_there_is_room(pool, make_search, small_disk):
    disk, search = small_disk(400_000), make_search()
    study = open_study(search, open_storage(f"sqlite:///{disk}/study.db", create=True), "small")
    watcher = Then(2, lambda: fill(disk))
    with pytest.raises(StorageError, match=r"must stay reachable, but is not \(.*full.*; the same command goes on"):
        run(search, study, pool, 3, watcher)
    (disk / "ballast").unlink()
    again = open_study(search, open_storage(f"sqlite:///{disk}/study.db"), "small")
    after = Counting()
    run(search, again, pool, 3, after)
    assert _states(again) == ["COMPLETE"] * 3
    assert after.epochs <= 3 * 4 * 2 - 2 * 2


# Folders


def test_a_results_folder_that_was_moved_is_gone_on_in_and_a_copy_is_refused(storage, pool, make_search):
    search = make_search()
    run(search, open_study(search, storage, "small"), pool, 1, Watcher())
    moved = _at(search, search.out.parent / "elsewhere")
    shutil.copytree(search.out, moved.out)
    with pytest.raises(StorageError, match=r"elsewhere is a copy of .*small, which is still there; give --out"):
        open_study(moved, storage, "small")
    shutil.rmtree(moved.out)
    study = open_study(search, storage, "small")
    search.out.rename(moved.out)
    with pytest.raises(DataError, match="if it was moved, `mer-search run` with the --out where it is now"):
        trial_target(study, None)
    watcher = Counting()
    again = open_study(moved, storage, "small")
    run(moved, again, pool, 2, watcher)
    assert _states(again) == ["COMPLETE"] * 2
    assert watcher.epochs == 4 * 2  # the second trial's alone
    assert trial_target(again, 0).folder == moved.out.resolve() / "confirm" / "trial-0"


def test_two_runs_never_write_one_results_folder(tmp_path, flow_folder):
    out, base = tmp_path / "runs" / "small", space.parse(STUDY, "small").base
    for first, second in ((False, False), (False, True), (True, False)):  # alone, or sharing through a PostgreSQL
        with (
            only_trainer(out, first),
            pytest.raises(StorageError, match=r"small must have one mer-search that trains, but another holds it"),
            only_trainer(out, second),
        ):
            pass
    with only_trainer(out, shared=True), only_trainer(out, shared=True):
        pass
    loaded = load_data(flow_folder, base, silent)
    job = Confirmation(Target(base, "small", out), loaded, loaded.select("all"), (1000,))
    for shared in (False, True):
        with only_trainer(job.store, shared), pytest.raises(StorageError, match="another holds it; wait for its end"):
            confirm_all([job], "cpu", silent, lambda *_: None)


def test_a_study_whose_making_was_killed_anywhere_is_made_whole(tmp_path, make_search, monkeypatch):
    search, real = make_search(), optuna.Study.set_user_attr
    for last in range(len(search.attributes) + 1):
        storage, left = open_storage(f"sqlite:///{tmp_path}/{last}.db", create=True), iter(range(last))

        def killed(study, key, value, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            real(study, key, value)

        monkeypatch.setattr(optuna.Study, "set_user_attr", killed)
        with pytest.raises(KeyboardInterrupt):
            open_study(search, storage, "small")
        monkeypatch.setattr(optuna.Study, "set_user_attr", real)
        study = open_study(search, storage, "small")
        assert _states(study) == ["WAITING"]
        assert search.attributes.items() <= study.user_attrs.items()


# Resuming, and time


@pytest.mark.parametrize("name", ["tpe", "gp", "random", "qmc"])
def test_a_study_that_is_stopped_after_every_trial_draws_what_one_that_is_not_draws(
    storage, make_search, monkeypatch, name
):
    search = make_search(STUDY.replace('"random"', f'"{name}"'))
    monkeypatch.setattr(studies, "_evaluate", lambda *given: [1 / given[3]["train.lr"] % 1])
    whole, parts = (open_study(_at(search, search.out / each), storage, each) for each in ("whole", "parts"))
    run(search, whole, None, 13, Watcher())
    for trials in range(1, 14):
        parts = open_study(_at(search, search.out / "parts"), storage, "parts")
        run(search, parts, None, trials, Watcher())
    assert [trial.params for trial in parts.get_trials()] == [trial.params for trial in whole.get_trials()]
    assert len({trial.params["train.lr"] for trial in parts.get_trials()[:10]}) == 10  # before there is a model


def test_a_clock_that_was_moved_hides_no_failures():
    study = optuna.create_study()
    late, early = (optuna.trial.create_trial(state=state, value=value) for state, value in ENDS)
    late.datetime_complete = late.datetime_complete.replace(year=2100)
    for trial in (late, early, early, early):
        study.add_trial(trial)
    assert [trial.number for trial in failed_last(study, set())] == [1, 2, 3]


ENDS = ((TrialState.COMPLETE, 0.5), (TrialState.FAIL, None))


# Databases


@pytest.fixture
def server(tmp_path):
    """A PostgreSQL of a test's own: its URL, and functions that stop it and start it."""
    pgserver = pytest.importorskip("pgserver")
    from pgserver._commands import pg_ctl

    url = start(tmp_path / "postgres", create=True)
    own = pgserver.PostgresServer._instances[tmp_path / "postgres"]

    def stop():
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=own.pgdata, user=own.system_user)

    yield url, stop, own.ensure_postgres_running
    own.cleanup()


class Outage(Watcher):
    """Stops the server when a trial has ended, and starts it a while later; notes what is shown."""

    def __init__(self, stop, start):
        self.stop, self.start, self.numbers, self.waited, self.done = stop, start, [], 0, None

    def waiting(self):
        self.waited += 1

    def told(self, trial, best):
        self.numbers.append(trial.number)
        if self.done is None:
            self.done = threading.Thread(target=self._outage)
            self.done.start()

    def _outage(self):
        self.stop()
        time.sleep(3)
        self.start()


def test_workers_wait_for_a_server_that_is_stopped_and_started_and_go_on(server, make_search):
    url, stop, start_again = server
    search, said = make_search(), []
    study, live = open_study(search, open_storage(url), "small"), Outage(stop, start_again)
    run_workers(Job(search, url, "small", 12, Watcher()), study, places("cpu", 2), live, said.append)
    live.done.join()
    assert live.waited
    assert said == []  # no worker died of it
    assert _states(study) == ["COMPLETE"] * 12
    assert sorted(live.numbers) == list(range(12))
    assert [len(load(trial_folder(search.out, number) / PREDICTIONS)) for number in range(12)] == [4] * 12


def test_a_trial_that_ended_as_the_database_went_is_shown_when_it_is_back(monkeypatch):
    study, live, shown, seen = optuna.create_study(), Watcher(), [], set()
    study.add_trial(optuna.trial.create_trial(value=0.5))
    live.told = lambda trial, best: shown.append(trial.number)
    lost = iter([UnreachableError("gone")])

    def best(study):
        if error := next(lost, None):
            raise error

    monkeypatch.setattr(workers, "best_trial", best)
    with pytest.raises(UnreachableError):
        workers._tell(study, seen, live)
    for _ in range(2):
        workers._tell(study, seen, live)
    assert shown == [0]


def test_a_worker_whose_connection_is_cut_joins_again_and_trains_no_finished_fold_again(postgres, pool, make_search):
    search, name = make_search(), uuid4().hex
    study = open_study(search, open_storage(postgres), name)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = :kind"

    def lose():
        with study._storage._backend.engine.begin() as connection:
            connection.execute(sqlalchemy.text(cut), {"kind": claims.TRIAL})

    watcher = Then(2, lose)
    run(search, study, pool, 2, watcher)
    assert _states(study) == ["COMPLETE"] * 2
    assert watcher.epochs <= (2 * 4 + 2) * 2  # two folds were being trained when the connection was found cut


def test_who_lost_a_trial_does_not_set_it_waiting_at_ctrl_c(postgres, pool, make_search):
    search, name = make_search(), uuid4().hex
    study = open_study(search, open_storage(postgres), name)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = :kind"
    with open_claims(open_storage(postgres), name) as other:

        def lose():
            with study._storage._backend.engine.begin() as connection:
                connection.execute(sqlalchemy.text(cut), {"kind": claims.TRIAL})
            assert other.ask(study, 1, lambda trial: {})[0].number == 0  # another takes it up
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(search, study, pool, 1, Then(2, lose))
        assert _states(study) == ["RUNNING"]


def test_ctrl_c_as_a_trial_has_just_ended_is_ctrl_c(storage, pool, make_search, monkeypatch):
    search = make_search()
    study = open_study(search, storage, "small")
    real = optuna.Study.tell

    def tell(self, *given, **named):
        real(self, *given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna.Study, "tell", tell)
    with pytest.raises(KeyboardInterrupt):
        run(search, study, pool, 1, Watcher())
    assert _states(study) == ["COMPLETE"]


@pytest.mark.parametrize("error", [Infeasible("does not fit", "memory"), ValueError("a defect")])
def test_a_trial_that_ends_without_a_result_keeps_no_weights_to_go_on_from(storage, pool, make_search, error):
    search = make_search(STUDY.replace('pruner = "none"', 'pruner = "recall-rungs"'))
    study, seen = open_study(search, storage, "small"), []

    def fail():
        seen.extend((trial_folder(search.out, 0) / "unfinished").iterdir())
        raise error

    run(search, study, pool, 1, Then(4, fail))
    assert len(seen) == 4
    assert not (trial_folder(search.out, 0) / "unfinished").exists()


def test_a_trial_that_is_anothers_by_now_gets_no_fold_from_whoever_lost_it(postgres):
    name = uuid4().hex
    study = optuna.create_study(study_name=name, storage=open_storage(postgres))
    with open_claims(study._storage, name) as lost:
        trial, _ = lost.ask(study, 1, lambda trial: {})
        lost.drop(trial._trial_id)
        with pytest.raises(UnreachableError, match="its trial is another's now"), lost.ours(trial._trial_id):
            pytest.fail("a fold would be written")


def test_a_database_that_stays_away_is_given_up_after_a_while(server, make_search, monkeypatch):
    url, stop, _ = server
    storage = open_storage(url)
    monkeypatch.setattr(claims, "PATIENCE", 0.5)
    monkeypatch.setattr(claims, "ASK_AGAIN", 0.1)
    stop()
    waits = []
    with pytest.raises(UnreachableError, match="must stay reachable, but is not"):
        persist(storage, lambda: print(storage.get_all_studies()), lambda: waits.append(1))
    assert waits == [1]


def test_a_port_that_is_open_but_does_not_answer_is_given_up(monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setitem(storages.CONNECTION, "connect_timeout", 2)  # seconds, the least that libpq takes
    with socket.create_server(("127.0.0.1", 0)) as silence:
        url, began = f"postgresql+psycopg://me:secret@127.0.0.1:{silence.getsockname()[1]}/x", time.monotonic()
        with pytest.raises(StorageError, match="timeout") as caught:
            open_storage(url)
    assert time.monotonic() - began < 10
    assert "secret" not in str(caught.value)


def test_a_database_whose_making_was_killed_is_made_again(tmp_path):
    pgserver = pytest.importorskip("pgserver")
    folder = tmp_path / "postgres"
    folder.mkdir()
    (folder / "PG_VERSION").write_text("16\n")  # what PostgreSQL writes first
    folder.with_name("postgres.making").touch()
    assert start(folder, create=True).startswith("postgresql+psycopg:")
    assert not folder.with_name("postgres.making").exists()
    pgserver.PostgresServer._instances[folder].cleanup()
