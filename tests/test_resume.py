"""What a study that is gone on with must share with the one that was begun, and that kills take nothing from it."""

import random
import shutil
from dataclasses import replace

import cv2
import optuna
import pytest
from kill_campaign import Campaign
from optuna.samplers import QMCSampler
from small import STUDY, drive, silent, states

from mer_search.config import digest
from mer_search.confirmation.confirm import Confirmation
from mer_search.confirmation.target import trial_target
from mer_search.errors import StorageError, UsageError
from mer_search.search import study as studies
from mer_search.search.optuna_internals import wait_again
from mer_search.search.resume import check_agrees
from mer_search.search.samplers import sampler
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import NOT_COUNTED, open_storage
from mer_search.search.study import open_study
from mer_search.search.trial import trial_folder
from mer_search.search.workspace import load_data
from mer_search.training.fold_store import claim


@pytest.mark.parametrize(
    ("text", "seed", "task", "words"),
    [
        (STUDY.replace("1e-2]", "2e-2]"), 0, "3", r"settings \(\[space\] train.lr is .*0.01.* there, .*0.02.* here\)"),
        (STUDY, 1, "3", r"another seed \(0 there, 1 here\); .* or give --seed 0"),
        (STUDY, 0, "7", r"another task \(7 there, 3 here\); .* or give --task 7"),  # which flow images do not have
    ],
)
def test_a_study_with_another_space_seed_or_task_is_refused(storage, make_search, text, seed, task, words):
    open_study(make_search(), storage, "small").set_user_attr("task", task)
    with pytest.raises(StorageError, match=words):
        open_study(make_search(text, seed), storage, "small")


def test_a_search_ends_when_its_folder_is_deleted_and_says_so_again(begin, storage, executor):
    search, study = begin()

    def run():
        for event in studies.run(search, study, Scheduler(executor, 1), 3):
            if isinstance(event, studies.Told):
                shutil.rmtree(search.out)

    with pytest.raises(StorageError, match=r"must keep its results folder, but .* was deleted or replaced"):
        run()
    assert states(study)[0] == "COMPLETE"
    assert "COMPLETE" not in states(study)[1:]
    with pytest.raises(StorageError, match=r"restore it, .* or begin anew with another --study-name"):
        open_study(search, storage, "small")


def test_a_new_study_does_not_mix_with_the_folder_of_another(tmp_path, begin):
    search, _ = begin(trials=1)
    with pytest.raises(StorageError, match="give another --study-name or --out, or delete the folder"):
        open_study(search, open_storage(f"sqlite:///{tmp_path}/other.db", create=True), "small")


def test_a_folder_of_another_run_is_never_overwritten(begin):
    search, _ = begin(trials=1)
    other = search.loaded.with_values({"train.lr": 0.5}, silent).run
    with pytest.raises(UsageError, match=f"must hold run {digest(other)}"):
        claim(trial_folder(search.out, 0), other, search.loaded.motion_digest)


def test_a_study_that_counted_classes_without_clips_is_refused(begin):
    search, study = begin(trials=0)
    assert study.user_attrs[NOT_COUNTED] == search.not_counted == []
    old = {name: value for name, value in study.user_attrs.items() if name != NOT_COUNTED}
    check_agrees("small", old, search.attributes, search.file.text)
    fewer = replace(search, subjects=()).attributes
    assert fewer[NOT_COUNTED] == list(search.loaded.run.data.classes)
    with pytest.raises(StorageError, match="an earlier version made it, which counted negative, positive, surprise"):
        check_agrees("small", old, search.attributes | {NOT_COUNTED: fewer[NOT_COUNTED]}, search.file.text)


def _turned(folder):
    """Every flow image upside down."""
    for path in folder.rglob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path))[::-1])


def test_pixels_that_have_changed_are_noticed_by_search_and_confirmation(begin, storage, make_search, flow_folder):
    search, study = begin(trials=1)
    _turned(flow_folder)
    with pytest.raises(StorageError, match="made with other motion of the same clips, whose pixels have changed"):
        open_study(make_search(), storage, "small")
    loaded = load_data(flow_folder, trial_target(study, 0).run, silent)
    with pytest.raises(UsageError, match=r"trial-0000 was trained on other motion .* the frames' pixels have changed"):
        Confirmation(trial_target(study, 0), loaded, loaded.select("all"), (1000,))
    _turned(flow_folder)
    assert open_study(make_search(), storage, "small").user_attrs["motion"] == search.loaded.motion_digest


def test_data_that_were_moved_are_known_where_they_are_now(begin, storage, flow_folder, tmp_path):
    search, _ = begin()
    flow_folder.rename(tmp_path / "moved")
    loaded = load_data(tmp_path / "moved", search.file.base, silent)
    moved = open_study(replace(search, loaded=loaded), storage, "small")
    assert moved.user_attrs["data"] == str((tmp_path / "moved").resolve())


def test_what_is_killed_goes_on_loses_no_finished_fold_and_leaves_nothing_behind(tmp_path):
    """The long campaign is benchmarks/kill_campaign.py by hand."""
    campaign = Campaign(tmp_path, random.Random(1))
    campaign.search("small", 2, 1, most=12)
    campaign.search_through("other", 2, 2, campaign.kill_worker, 3)
    campaign.compare("other", "small")
    campaign.confirm("small", 0, 2, seeds=2, kills=1, most=20)
    assert campaign.wrong == []
    assert campaign.kills == 4


@pytest.mark.parametrize(("name", "n_set"), [("random", 1), ("random", 2), ("qmc", 0), ("qmc", 1)])
def test_a_trial_that_was_killed_while_it_was_drawn_has_the_values_of_one_that_was_not(
    begin, make_search, executor, tmp_path, name, n_set
):
    """Values are drawn one after the other, or (qmc) all and then set: one that is there already is drawn again, and
    not taken."""
    text = STUDY.replace('"random"', f'"{name}"')
    _, whole = begin(text, trials=3)
    search = replace(make_search(text), out=tmp_path / "killed")
    storage = open_storage(f"sqlite:///{tmp_path}/killed.db", create=True)
    study = open_study(search, storage, "small")
    drive(search, study, executor, 2)
    study.sampler = sampler(search.file.sampler, search.seed, 2)
    trial = study.ask()
    assert bool(trial.relative_params) == (name == "qmc")  # it is drawn
    for axis in search.file.axes[:n_set]:
        axis.suggest(trial)
    again = open_study(search, storage, "small")
    drive(search, again, executor, 3)
    assert [trial.params for trial in again.get_trials()] == [trial.params for trial in whole.get_trials()]


def test_a_quasi_random_search_draws_a_conditional_axis_anew_for_each_trial():
    study, drawn = optuna.create_study(), []
    study.enqueue_trial({"loss": "ce"})
    for number in range(12):
        study.sampler = sampler("qmc", 0, number)
        trial = study.ask()
        if trial.suggest_categorical("loss", ["ce", "focal"]) == "focal":
            drawn.append(trial.suggest_float("gamma", 0, 1))
        study.tell(trial, 0.0)
    assert len(set(drawn)) == len(drawn) > 3


def test_a_quasi_random_search_that_is_not_disturbed_draws_what_optunas_own_does():
    drawn = []
    for own in (sampler("qmc", 3), QMCSampler(seed=3, scramble=True)):
        study = optuna.create_study(sampler=own)
        study.enqueue_trial({"lr": 0.5})
        study.optimize(lambda trial: trial.suggest_float("lr", 0, 1), 6)
        drawn.append([trial.params["lr"] for trial in study.trials])
    assert drawn[0] == drawn[1]


def test_a_first_trial_that_was_killed_while_it_was_drawn_begins_no_sequence():
    study = optuna.create_study(sampler=sampler("qmc", 0))
    trial = study.ask()
    trial.suggest_float("lr", 0, 1)
    wait_again(study, trial)
    assert study.ask().relative_params == {}
