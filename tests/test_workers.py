"""Worker processes on one machine, killed ones included."""

import os
import re
import signal
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner
from conftest import STUDY
from optuna.trial import TrialState

from mer_search import cli
from mer_search.errors import MerSearchError
from mer_search.report.trials import print_next
from mer_search.search import crew
from mer_search.search.crew import places
from mer_search.search.storage import open_storage, shown
from mer_search.search.study import Watcher, open_study, trial_folder
from mer_search.search.workers import Job, run_workers
from mer_search.training.predictions import load


class Dies(Watcher):
    """Writes down what is trained; one worker of all kills itself when two folds of trial 2 are finished."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, -1

    def trial(self, number, done, values):
        self.number = number

    def epoch(self, epoch, of):
        with (self.folder / "epochs.txt").open("a") as file:
            file.write(f"{self.number} {epoch.subject} {epoch.epoch}\n")

    def fold(self, subject, done, of, uf1_so_far):
        with (self.folder / f"folds{self.number}.txt").open("a") as file:
            file.write(f"{subject}\n")
        if self.number == 2 and done == 2 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Fails(Watcher):
    """A defect after the training of every trial."""

    def evaluated(self, trial, evaluation):
        raise ValueError("a defect")


class Told(Watcher):
    """Notes what a run shows."""

    def __init__(self):
        self.numbers, self.lines = [], []

    def told(self, trial, best):
        self.numbers.append(trial.number)


@pytest.fixture
def start(postgres, make_search):
    """A function (watcher, trials, workers) -> (search, study, what was shown) after the workers have ended."""
    search, name = make_search(), uuid4().hex

    def run(watcher, trials, count=1):
        study = open_study(search, open_storage(postgres), name)
        for rate in (2e-3, 3e-3):
            study.enqueue_trial({"train.lr": rate})
        live = Told()
        run_workers(Job(search, postgres, name, trials, watcher), study, places("cpu", count), live, live.lines.append)
        return search, study, live

    return run


def test_a_killed_workers_trial_goes_on_from_its_last_finished_fold_and_none_is_lost_or_doubled(start, tmp_path):
    search, study, live = start(Dies(tmp_path), 6, 2)
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert sorted(live.numbers) == list(range(6))
    assert [trial.params["train.lr"] for trial in trials[:3]] == [5e-3, 2e-3, 3e-3]
    assert [len(load(trial_folder(search.out, number) / "predictions.npz")) for number in range(6)] == [4] * 6
    assert len(live.lines) == 1
    assert re.fullmatch(r"worker [01] died \(SIGKILL\); another takes its place", live.lines[0])
    finished = (tmp_path / "folds2.txt").read_text().split()[:2]
    trained = (tmp_path / "epochs.txt").read_text().splitlines()
    assert all(trained.count(f"2 {subject} {epoch}") == 1 for subject in finished for epoch in (1, 2))


def test_three_failures_in_a_row_end_the_run(start):
    with pytest.raises(MerSearchError, match=r"3 in a row failed, the first with: a defect; details in .*error\.txt"):
        start(Fails(), 9)


def test_the_cores_are_divided_and_the_gpus_dealt_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5})
    assert [place.cores for place in places("cpu", 2)] == [{0, 2}, {1, 5}]
    assert [len(place.cores) for place in places("cpu", 6)] == [1] * 6
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    assert [place.gpu for place in places("cuda", 3)] == ["3", "7", "3"]
    assert places("cpu", 1)[0].gpu is None


def test_a_password_is_never_shown(capsys):
    url = "postgresql+psycopg://user:se:c@ret@host:5432/db?sslmode=require&password=secret"
    assert shown(url) == "postgresql+psycopg://user:***@host:5432/db?sslmode=require&password=***"
    for plain in ("sqlite:///mer-search.db", "postgresql+psycopg://user@host/db", "embedded:runs/postgres"):
        assert shown(plain) == plain
    print_next(url, "small", Path("runs/small"))
    printed = capsys.readouterr().out
    assert "--storage postgresql+psycopg://user:***@host" in printed
    assert "ret" not in printed


def test_workers_without_a_postgres_get_one_that_serves_later_commands_too(flow_folder, tmp_path, monkeypatch):
    pgserver = pytest.importorskip("pgserver")
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(STUDY)

    def mer_search(*arguments):
        try:
            return CliRunner().invoke(cli.main, list(map(str, arguments)))
        finally:  # as at the end of the program
            if server := pgserver.PostgresServer._instances.get(tmp_path / "runs/postgres"):
                server.cleanup()

    run = ("run", "--study", "small.toml", "--data", flow_folder, "--trials", 2, "--workers", 2)
    done = mer_search(*run)
    assert done.exit_code == 0, done.output
    assert len(re.findall(r"^trial   \d  UF1 0\.\d{3}  ", done.stderr, re.M)) == 2
    assert "on 2 workers" in done.stderr
    assert "mer-search confirm --storage embedded:runs/postgres --name small" in done.stdout
    assert "optuna-dashboard postgresql" not in done.stdout
    assert not Path("mer-search.db").exists()
    assert not Path("runs/postgres/postmaster.pid").exists()  # it has stopped
    embedded = ("--storage", "embedded:runs/postgres")
    status = mer_search("status", *embedded)
    assert status.stdout.endswith("2 complete\n"), status.output
    confirmed = mer_search("confirm", "--workers", 2, "--seeds", 1, "--against", "none", *embedded)
    assert confirmed.exit_code == 0, confirmed.output
    assert "cost: 4 folds" in confirmed.stderr
    assert "2 processes" in confirmed.stderr


def test_without_pgserver_workers_are_refused_in_one_line(flow_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pgserver", None)
    Path("small.toml").write_text(STUDY)
    refused = CliRunner().invoke(
        cli.main, ["run", "--study", "small.toml", "--data", str(flow_folder), "--workers", "2"]
    )
    assert refused.exit_code == 2
    assert "pip install 'mer-search[workers]'" in refused.stderr
    assert not Path("runs").exists()


def test_workers_that_keep_dying_end_the_run(start, monkeypatch):
    monkeypatch.setattr(crew, "REPLACED", 0)
    with pytest.raises(MerSearchError, match="1 died, the last one: SIGKILL"):
        start(AtOnce(), 3)


class AtOnce(Watcher):
    """Every worker is killed with its first trial."""

    def trial(self, number, done, values):
        os.kill(os.getpid(), signal.SIGKILL)
