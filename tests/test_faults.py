"""Disks that are full, folders that move, databases that go away: nothing is lost, and the same call goes on."""

import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from small import STUDY, drive, fill, folds_of, one_line, over, silent, states

from mer_search.confirmation.confirm import Confirmation, confirm_all
from mer_search.confirmation.target import Target, trial_target
from mer_search.engine.where import Where
from mer_search.errors import DataError, DiskError, Infeasible, MerSearchError, StorageError
from mer_search.search import space
from mer_search.search import storage as storages
from mer_search.search import study as studies
from mer_search.search.storage import held, only_writer, open_storage, reachable
from mer_search.search.study import open_study, stop_after_failures
from mer_search.search.trial import Incumbents, Search, trial_folder
from mer_search.search.workspace import load_data


def _at(search: Search, out: Path) -> Search:
    return Search(search.file, search.loaded, search.subjects, search.seed, out)


# Disks


def test_a_disk_that_is_full_in_the_middle_of_a_trial_costs_the_folds_that_did_not_fit(
    storage, executor, make_search, small_disk
):
    disk = small_disk(400_000)
    search = _at(make_search(), disk / "small")
    study = open_study(search, storage, "small")
    with pytest.raises(DiskError, match="make room"):
        drive(search, study, executor, 1, stop_after=2, then=lambda: fill(disk))
    assert states(study) == ["WAITING"]
    kept = len(folds_of(trial_folder(search.out, 0)))
    (disk / "ballast").unlink()
    assert drive(search, study, executor, 1).epochs == (4 - kept) * 2
    assert states(study) == ["COMPLETE"]
    assert kept == 2
    assert list(disk.rglob("*.partial")) == []


def test_a_disk_that_is_full_in_the_middle_of_a_confirmation_leaves_no_broken_checkpoint(
    flow_folder, everywhere, small_disk
):
    disk, base = small_disk(400_000), space.parse(STUDY, "small").base
    loaded = load_data(flow_folder, base, silent)
    job = Confirmation(Target(base, "small", disk / "small"), loaded, loaded.select("all"), (1000, 1001, 1002))
    confirming = partial(confirm_all, [job], Where(), announce=lambda *_: None)
    with pytest.raises(DiskError, match="make room"):
        confirming(lambda what, done, total: "folds" in what and done and fill(disk))
    (disk / "ballast").unlink()
    assert 1 <= 12 - len(job.missing) < 12
    folds = confirming(silent)
    assert [fold.subject for fold in folds[0]] == list(job.subjects) * 3
    assert len(list((job.store / "checkpoints").iterdir())) == 4 * 3
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


def test_a_folder_that_cannot_be_written_is_one_line_of_every_command(mer_search, flow_folder, small_disk):
    Path("small.toml").write_text(STUDY)
    disk = small_disk(100_000)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for options in (["--out", f"{disk}/runs"], ["--storage", f"sqlite:///{disk}/study.db"]):
        refused = mer_search("run", "--study", "small.toml", "--data", flow_folder, *options)
        one_line(refused, 1, f"error: {disk}/", " must be usable, but is not (Read-only file system)")


def test_a_database_whose_disk_is_full_is_one_line_and_goes_on_when_there_is_room(executor, make_search, small_disk):
    disk, search = small_disk(400_000), make_search()
    study = open_study(search, open_storage(f"sqlite:///{disk}/study.db", create=True), "small")
    with pytest.raises(StorageError, match=r"must stay reachable, but is not \(.*full.*; once it is"), reachable():
        drive(search, study, executor, 3, stop_after=2, then=lambda: fill(disk))
    (disk / "ballast").unlink()
    again = open_study(search, open_storage(f"sqlite:///{disk}/study.db"), "small")
    assert drive(search, again, executor, 3).epochs <= 3 * 4 * 2 - 2 * 2
    assert states(again) == ["COMPLETE"] * 3


def test_a_search_runs_where_hardly_any_memory_can_be_shared(flow_folder, tmp_path):
    """As in a container, whose /dev/shm has 64 MB; here the motion of the clips needs more than it has."""
    (tmp_path / "small.toml").write_text(STUDY)
    search = ["-m", "mer_search.cli", "run", "--study", "small.toml", "--data", str(flow_folder), "--trials", "1"]
    mount = 'mount -t tmpfs -o size=64k tmpfs /dev/shm || exit 77; exec "$@"'
    command = ["unshare", "-m", "bash", "-c", mount, "-", sys.executable, *search]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if ended.returncode in (77, 127) or "unshare" in ended.stderr:
        pytest.skip("a small /dev/shm needs the right to mount one")
    assert ended.returncode == 0, ended.stderr
    assert "1 complete" in ended.stdout


# Folders


def test_a_results_folder_that_was_moved_is_gone_on_in_and_a_copy_is_refused(begin, storage, executor):
    search, _ = begin(trials=1)
    moved = _at(search, search.out.parent / "elsewhere")
    shutil.copytree(search.out, moved.out)
    with pytest.raises(StorageError, match=r"elsewhere is a copy of .*small, which is still there; give --out"):
        open_study(moved, storage, "small")
    shutil.rmtree(moved.out)
    study = open_study(search, storage, "small")
    search.out.rename(moved.out)
    with pytest.raises(DataError, match="if it was moved, `mer-search run` with the --out where it is now"):
        trial_target(study, None)
    again = open_study(moved, storage, "small")
    assert drive(moved, again, executor, 2).epochs == 4 * 2  # the second trial's alone
    assert states(again) == ["COMPLETE"] * 2
    assert trial_target(again, 0).folder == moved.out.resolve() / "confirm" / "trial-0"


def test_two_runs_never_write_one_results_folder(tmp_path, make_search):
    search = make_search()
    refused = pytest.raises(
        StorageError, match=r"small\S* must have one mer-search that writes to it, but another holds it; wait"
    )
    first, second = (only_writer(f"sqlite:///{tmp_path}/{name}.db", search.out) for name in "ab")
    with first, refused, second:
        pass
    job = Confirmation(Target(search.file.base, "small", search.out), search.loaded, search.subjects, (1000,))
    with held(job.store), refused:
        confirm_all([job], Where(), silent, lambda *_: None)


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
        assert states(study) == ["WAITING"]
        assert search.attributes.items() <= study.user_attrs.items()


# Resuming, and time


@pytest.mark.parametrize("name", ["tpe", "gp", "random", "qmc"])
def test_a_study_that_is_stopped_after_every_trial_draws_what_one_that_is_not_draws(
    storage, make_search, monkeypatch, name
):
    search = make_search(STUDY.replace('"random"', f'"{name}"'))
    monkeypatch.setattr(
        studies,
        "evaluation_job",
        lambda search, _, trial, values, *__: over(search, trial, [1 / values["train.lr"] % 1]),
    )
    places = {each: _at(search, search.out / each) for each in ("whole", "parts")}
    whole = open_study(places["whole"], storage, "whole")
    drive(places["whole"], whole, None, 13)
    for trials in range(1, 14):
        parts = open_study(places["parts"], storage, "parts")
        drive(places["parts"], parts, None, trials)
    assert [trial.params for trial in parts.get_trials()] == [trial.params for trial in whole.get_trials()]
    assert len({trial.params["train.lr"] for trial in parts.get_trials()[:10]}) == 10  # before there is a model


def test_a_clock_that_was_moved_hides_no_failures(make_search):
    study = optuna.create_study()
    late, early = (optuna.trial.create_trial(state=state, value=value) for state, value in ENDS)
    late.datetime_complete = late.datetime_complete.replace(year=2100)
    early.set_user_attr("error", "a defect")
    for trial in (late, early, early, early):
        study.add_trial(trial)
    with pytest.raises(MerSearchError, match=r"3 in a row failed, the first with: a defect; .*trial-0001"):
        stop_after_failures(make_search(), study.get_trials(), set())


ENDS = ((TrialState.COMPLETE, 0.5), (TrialState.FAIL, None))


# Databases


def test_ctrl_c_as_a_trial_has_just_ended_is_ctrl_c(begin, executor, monkeypatch):
    search, study = begin()
    real = optuna.Study.tell

    def tell(self, *given, **named):
        real(self, *given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna.Study, "tell", tell)
    with pytest.raises(KeyboardInterrupt):
        drive(search, study, executor, 1)
    assert states(study) == ["COMPLETE"]


@pytest.mark.parametrize("error", [Infeasible("does not fit", "memory"), ValueError("a defect")])
def test_a_trial_that_ends_without_a_result_keeps_no_weights_to_go_on_from(begin, executor, monkeypatch, error):
    search, study = begin(STUDY.replace('pruner = "none"', 'pruner = "recall-rungs"'))
    seen, real = set(), Incumbents.score

    def score(self, fold):
        seen.update((trial_folder(search.out, 0) / "unfinished").glob("*"))
        if fold.epochs == 2:
            monkeypatch.undo()
            raise error
        return real(self, fold)

    monkeypatch.setattr(Incumbents, "score", score)
    drive(search, study, executor, 1)
    assert seen
    assert not (trial_folder(search.out, 0) / "unfinished").exists()


def test_a_port_that_is_open_but_does_not_answer_is_given_up(monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setitem(storages.LIBPQ, "connect_timeout", 2)  # seconds, the least that libpq takes
    with socket.create_server(("127.0.0.1", 0)) as silence:
        url, began = f"postgresql+psycopg://me:secret@127.0.0.1:{silence.getsockname()[1]}/x", time.monotonic()
        with pytest.raises(StorageError, match="timeout") as caught:
            open_storage(url)
    assert time.monotonic() - began < 10
    assert "secret" not in str(caught.value)
