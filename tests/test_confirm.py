import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from small import STUDY, confirmation_of, copied_study, folds_of, made_by, silent, write_casme2, write_flow_images

from mer_search.config import digest, with_values
from mer_search.confirmation import confirm as confirming
from mer_search.confirmation import scoring as summaries
from mer_search.confirmation.compare import compare
from mer_search.confirmation.folders import confirmations, other_confirmations
from mer_search.confirmation.summary import read_summary
from mer_search.confirmation.target import preset_target, start_target, top_targets, trial_target
from mer_search.engine.where import Where
from mer_search.errors import DataError, UsageError
from mer_search.evaluation import baselines
from mer_search.evaluation.metrics import RULES, best_test_epoch, pooled_uf1, tail, val_epoch
from mer_search.report.summaries import others_table, summary_rows
from mer_search.search import space, workspace
from mer_search.search.resume import KEPT
from mer_search.search.workspace import load_data

PARTIAL = ('subjects = "all"', 'subjects = "1-3"')


@pytest.fixture(scope="module")
def searched(tmp_path_factory, executor):
    """A folder in which two trials were made on three of four subjects."""
    commands = ["run --study small.toml --data flow --trials 2"]
    return made_by(commands, tmp_path_factory.mktemp("searched"), executor, STUDY.replace(*PARTIAL))


@pytest.fixture
def study(searched, tmp_path):
    """The study in a copy of it, whose first trial is where it started."""
    return copied_study(searched, tmp_path, data=tmp_path / "flow")


@pytest.fixture
def confirmation(study):
    """The confirmation of the best trial with two seeds."""
    return confirmation_of(study)


def _train(confirmation, executor):
    told = []
    confirming.train([confirmation], executor, lambda *progress: told.append(progress))
    return folds_of(confirmation.store), told


def test_a_confirmation_uses_fresh_seeds_and_all_subjects_and_its_files_say_what_can_be_recomputed(
    confirmation, executor
):
    folds, told = _train(confirmation, executor)
    assert list(dict.fromkeys(told)) == [(f"{confirmation.target.title}: folds", done, 8) for done in range(9)]
    subjects = ("sub01", "sub02", "sub03", "sub04")
    assert [(fold.seed, fold.subject) for fold in folds] == [(seed, name) for seed in (1000, 1001) for name in subjects]
    groups = confirming.groups_of(confirmation.tuned, confirmation.databases)
    assert groups == {"all": subjects, "other": subjects[3:], "tuning": subjects[:3]}
    tuning = [folds_of(trial) for trial in confirmation.target.trials]
    assert {fold.seed for trial in tuning for fold in trial}.isdisjoint({1000, 1001})

    summary = summaries.summarise(confirmation, folds)
    summaries.write(confirmation, folds, summary)
    assert read_summary(confirmation.folder / "summary.json") == summary
    for rule, function in (("tail", tail), ("best_test_epoch", best_test_epoch)):
        each = [pooled_uf1(group, function) for group in (folds[:4], folds[4:])]
        found = summary.rules[rule]["all"]
        assert found.uf1_by_seed == tuple(each)
        assert (found.uf1, found.sd) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
        assert found.ci95[0] <= found.uf1 <= found.ci95[1]
        counted = set(range(len(summary.classes))) - set(found.classes_left_out)
        assert np.mean([found.f1_by_class[k] for k in counted]) == pytest.approx(found.uf1)
        matrix = np.array(found.confusion)
        assert matrix.sum() == 2 * summary.n_clips
        assert matrix.diagonal() / matrix.sum(1) == pytest.approx(found.recall_by_class)
        assert np.mean(found.recall_by_class) == pytest.approx(found.uar)
    assert set(summary.rules) == {"tail", "last", "best_test_epoch"}
    assert set(summary.rules["tail"]) == set(summary.baselines["rbf_svm"]) == {"all", "other", "tuning"}
    assert (summary.n_clips, summary.n_subjects, summary.synthetic) == (24, 4, False)
    assert set(summary.baselines) == {"logistic_regression", "rbf_svm"}
    for group, pair in summary.against_baseline.items():
        better = max(summary.baselines, key=lambda name: summary.baselines[name][group].uf1)
        ahead = summary.rules["tail"][group].uf1 - summary.baselines[better][group].uf1
        assert (pair.second, pair.difference) == (better, pytest.approx(ahead))
    assert set(summary.against_baseline) == {"all"}  # one other subject says nothing
    assert (summary.uf1_bbc.trials, summary.uf1_bbc.rule) == (2, "tail")
    last = summaries.corrected(confirmation.target.trials, confirmation.tuning, "last")
    assert last.best_trial_uf1 == max(pooled_uf1(trial, RULES["last"]) for trial in tuning)
    assert summary.gap == summary.rules["best_test_epoch"]["all"].uf1 - summary.tail.uf1
    assert len(list((confirmation.folder / "checkpoints").iterdir())) == len(folds)
    with (confirmation.folder / "subjects.csv").open() as file:
        rows = {row["subject"]: row for row in csv.DictReader(file)}
    assert [row["tuning"] for row in rows.values()] == ["1", "1", "1", "0"]
    right = [int(n) for n in rows["sub01"]["TP"].split()]
    assert float(rows["sub01"]["accuracy"]) == pytest.approx(sum(right) / 6, abs=1e-4)
    log = (confirmation.folder / "megc_log.txt").read_text().splitlines()
    assert log[0] == "megc2019 sub01"
    assert [len(line.split()) for line in log[:8]] == [2, 3, 3, 3, 3, 3, 3, 2]


def test_val_epoch_is_listed_where_subjects_were_held_out(confirmation, executor):
    loaded = confirmation.loaded.with_values({"train.val_subjects": 1}, silent)
    folds, _ = _train(confirming.Confirmation(confirmation.target, loaded, confirmation.subjects, (1000,)), executor)
    summary = summaries.summarise(confirmation, folds)
    assert summary.rules["val_epoch"]["all"].uf1 == pooled_uf1(folds, val_epoch)
    assert "epoch by validation subjects" in [row[0] for row in summary_rows(summary)]


def test_other_clips_than_those_of_the_search_are_refused(confirmation, tmp_path):
    write_flow_images(tmp_path / "more", subjects=5)
    loaded = load_data(tmp_path / "more", confirmation.target.run, silent)
    with pytest.raises(UsageError, match="must be confirmed on the clips that it was searched on"):
        confirming.Confirmation(confirmation.target, loaded, loaded.select("all"), (1000,))


def test_one_trial_leaves_nothing_to_correct(confirmation):
    assert summaries.corrected(confirmation.target.trials[:1], confirmation.tuning, "tail") is None


def test_the_best_trials_that_ran_to_their_end_are_taken_once_each(study):
    done = study.get_trials()
    for trial, facts in ((done[0], {"stopped_after": 1}), (done[1], {})):
        whole = {"fold_epochs": [8, 8], **facts}
        study.add_trial(
            optuna.create_trial(value=3.0, params=trial.params, distributions=trial.distributions, user_attrs=whole)
        )
    study.add_trial(optuna.create_trial(value=4.0))  # by hand, without folds
    assert [target.title for target in top_targets(study, 2)] == ["trial 1 of small", "trial 0 of small"]
    with pytest.raises(UsageError, match=r"that ran to their end, 2, but got 3"):
        top_targets(study, 3)


def test_a_search_started_at_its_base_with_its_settings_and_its_first_starting_point(study):
    first, second = (trial_target(study, number) for number in (0, 1))
    assert start_target(study, "", [second, first]) is first  # the very configuration, and its folds
    start = start_target(study, "", [second])
    assert digest(start.run) == digest(first.run)
    assert start.folder.parent == second.folder.parent
    assert (start.checksum, start.tuning, start.trials) == (second.checksum, second.tuning, ())
    other = start_target(study, "V3NR", [second])
    assert (other.run.train.lr, other.run.train.epochs, other.run.model.stem_width) == (8e-4, 2, 4)
    assert other.given and study.best_trial.number == 0 and not start.given  # it is what the search puts first
    Path(study.user_attrs["out"], KEPT).unlink()
    with pytest.raises(DataError, match="the file that the study was made with, writes it anew"):
        start_target(study, "", [second])


def test_configurations_on_the_same_clips_share_motion_and_a_fold_is_paid_once(
    study, confirmation, everywhere, monkeypatch
):
    target = confirmation.target
    settings = {**space.parse(STUDY, "small").settings, "data.task": "3"}
    start = preset_target("V4", settings, target.folder.parent)
    jobs = confirming.prepare([target, start, start], target.data, "all", (1000,), silent)
    assert jobs[0].loaded.tensors is jobs[1].loaded.tensors
    assert [cost.folds for cost in confirming.confirmation_costs(jobs, everywhere, silent)] == [4, 4, 0]
    told = []
    for _ in range(2):
        folds = confirming.confirm_all(jobs, Where(), silent, lambda _, costs, slots: told.append(costs))
        monkeypatch.setattr(Where, "open", lambda *_, **__: pytest.fail("it was opened for nothing"))
    assert [sum(cost.folds for cost in costs) for costs in told] == [8, 0]
    assert [pair.same for pair in compare(jobs[1:], folds[1:]).pairs] == [True]
    assert compare(jobs, folds).other == ("sub04",)


def test_baselines_are_fitted_once(confirmation, monkeypatch):
    loaded, path = confirmation.loaded, confirmation.folder / "baselines.json"
    arguments = (path, loaded.motion, loaded.labels, loaded.subjects, loaded.folds, silent)
    baselines.keep_predictions(*arguments)
    first = path.read_text()
    path.write_text("damaged")
    baselines.keep_predictions(*arguments)
    assert path.read_text() == first
    with monkeypatch.context() as patched:
        patched.setattr(baselines, "predict", lambda *_: pytest.fail("a baseline was fitted again"))
        baselines.keep_predictions(*arguments)
    monkeypatch.setattr(baselines, "SIZE", 7)  # other baselines than those that were kept
    baselines.keep_predictions(*arguments)
    assert json.loads(path.read_text())["recipe"]["thumbnail"] == 7


def test_a_preset_is_confirmed_in_a_folder_of_its_own(tmp_path):
    target = preset_target("V3NR", {"train.epochs": 7}, tmp_path)
    assert (target.run.model.stem_width, target.run.train.epochs) == (256, 7)
    assert target.folder == tmp_path / "presets" / "confirm" / "V3NR"
    assert target.title == "V3NR with train.epochs=7"
    assert preset_target("V5", {"model.stem_width": 512}, tmp_path, "published").title == "V5NR as published"
    with pytest.raises(UsageError, match="a preset must be one of"):
        preset_target("V9", {}, tmp_path)


def test_some_subjects_do_not_take_the_place_of_the_whole(confirmation):
    some = replace(confirmation, folds=("sub01", "sub02"))
    assert confirmation.folder == confirmation.target.folder
    assert some.folder.name.startswith(f"{confirmation.folder.name}-2-subjects-")


def test_a_trial_may_be_confirmed_on_another_dataset(confirmation, study, executor, tmp_path, mer_search):
    """Its folds lie apart from those of the trial on its own data; the people of its flow images are among these."""
    write_casme2(tmp_path / "casme2", 3)
    target = confirmation.target
    loaded = load_data(tmp_path / "casme2", with_values(target.run, {"data.task": "3", "prep.size": 32}), silent)
    there = confirming.Confirmation(target, loaded, loaded.select("all"), (1000,))
    assert there.is_transfer and not confirmation.is_transfer
    assert there.tuning == ("sub01", "sub02", "sub03") and all(there.tuned.values())
    assert there.store != confirmation.store and there.store.name.startswith(f"{confirmation.store.name}-")
    folds, _ = _train(there, executor)
    summary = summaries.summarise(there, folds)
    assert summary.title == f"{target.title} on CASME II"
    assert summary.dataset == "CASME II, 3 classes"
    assert summary.uf1_bbc is None
    assert (summary.n_tuning, summary.n_subjects) == (3, 3) and not summary.is_leak_free("tail", "all")

    summaries.write(there, folds, summary)
    assert confirmations(study) == {}  # on the search's own data
    assert other_confirmations(study) == {there.folder: summary}
    table = others_table({there.folder: summary})
    assert table.rows[0][:4] == (there.folder.name, "CASME II, 3 classes", "tail, no epoch selected", 3)
    assert table.title in mer_search("status").stdout
    assert mer_search("report").exit_code == 0
    page = (confirmation.folder.parents[1] / "report.md").read_text()
    assert there.folder.name in page.split(f"## {table.title}")[1].split("\n## ")[0]
    assert "No trial is confirmed on all subjects yet" in page


def test_a_trial_that_is_where_the_search_started_takes_its_folds_and_the_other_way_round(
    study, confirmation, everywhere
):
    first, second = (trial_target(study, number) for number in (0, 1))
    start = start_target(study, "", [second])
    assert digest(start.run) == digest(first.run) and start.folder != first.folder
    counted = []
    for target in (start, first):
        jobs = confirming.prepare([target], first.data, "all", (1000,), silent)
        confirming.confirm_all(jobs, Where(), silent, lambda _, costs, slots: counted.append(costs[0].folds))
        assert (jobs[0].store / "checkpoints" / "1000-sub01.safetensors").exists()
    assert counted == [4, 0]
    jobs = confirming.prepare([start], first.data, "all", (1000, 1001), silent)
    assert [cost.folds for cost in confirming.confirmation_costs(jobs, everywhere, silent)] == [4]


def test_a_subject_that_the_data_lack_is_refused_before_motion_is_measured(confirmation, monkeypatch):
    monkeypatch.setattr(workspace, "load", lambda *_: pytest.fail("motion was measured"))
    target = confirmation.target
    with pytest.raises(UsageError, match="'sub99' is none of sub01"):
        confirming.prepare([target], target.data, "sub99", (1000,), silent)
