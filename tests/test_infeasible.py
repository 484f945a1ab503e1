"""Trials that cannot be: too large for the device, diverging, or deadly. Each costs itself and teaches the sampler."""

import statistics

import numpy as np
import optuna
import pytest
from conftest import STUDY
from deadly import Deadly
from optuna.trial import TrialState

from mer_search.errors import Infeasible, MerSearchError
from mer_search.search import study as studies
from mer_search.search.storage import best_trial, open_storage
from mer_search.search.study import Watcher, open_study, run, trial_folder
from mer_search.training import loso
from mer_search.training.pool import Task
from mer_search.training.predictions import load

LARGEST = 0.305  # a third of the pairs in the unit square have a larger product
SQUARE = STUDY.split("[space]")[0].replace('"random"', '"tpe"') + (
    '[space]\n"train.mixup" = { float = [0.0, 1.0] }\n"train.noise" = { float = [0.0, 1.0] }\n'
)


@pytest.fixture
def run_stubbed(make_search, monkeypatch):
    """A function (evaluate, trials, text, seed) -> study, whose trials call evaluate(trial, values) alone."""

    def drive(evaluate, trials, text=STUDY, seed=0):
        search = make_search(text, seed)
        monkeypatch.setattr(studies, "_evaluate", lambda search, study, trial, values, *_: evaluate(trial, values))
        study = open_study(search, optuna.storages.InMemoryStorage(), f"seed-{seed}")
        run(search, study, None, trials, Watcher())
        return study

    return drive


@pytest.mark.parametrize(
    ("score", "most"),
    [
        (lambda one, other: 0.6 - 0.5 * ((one - 0.35) ** 2 + (other - 0.35) ** 2), 12),
        (lambda one, other: 0.4 + one * other, 40),  # the sampler presses against the limit; failures would cost 90
    ],
    ids=["the best fits easily", "the best is the largest that fits"],
)
def test_the_sampler_learns_what_does_not_fit_the_memory(run_stubbed, score, most):
    def evaluate(trial, values):
        one, other = values["train.mixup"], values["train.noise"]
        if one * other > LARGEST:
            raise Infeasible("the network and a batch must fit the device's memory, but do not", "fits memory")
        return score(one, other) + 0.02 * np.random.default_rng(trial.number).normal()

    hits = []
    for seed in range(5):
        trials = run_stubbed(evaluate, 100, SQUARE, seed).get_trials()
        hit = [trial for trial in trials if trial.state == TrialState.PRUNED]
        assert all(trial.constraints == {"fits memory": 1.0} and trial.value is None for trial in hit)
        assert len(hit) + sum(trial.state == TrialState.COMPLETE for trial in trials) == 100
        hits.append(len(hit))
    assert statistics.median(hits) <= most, hits


def test_what_does_not_fit_is_never_the_best_even_if_nothing_else_was_seen(run_stubbed):
    def evaluate(trial, values):
        if trial.number != 2:
            raise Infeasible("must fit", "fits memory")
        return 0.01

    assert best_trial(run_stubbed(evaluate, 2)) is None
    assert best_trial(run_stubbed(evaluate, 5, seed=1)).number == 2


def test_three_failures_in_a_row_end_a_run_but_neither_two_nor_what_is_infeasible(run_stubbed):
    def evaluate(trial, values, outcomes="FFCFFC" + "I" * 8 + "FFFC"):
        outcome = outcomes[trial.number]
        if outcome == "F":
            raise ValueError(f"defect {trial.number}")
        if outcome == "I":
            raise Infeasible("must fit", "fits memory")
        return 0.5

    with pytest.raises(MerSearchError, match="3 in a row failed, the first with: defect 14"):
        run_stubbed(evaluate, 99)


def test_a_fold_that_dies_natively_costs_its_trial_and_the_study_goes_on(tmp_path, pool, make_search, monkeypatch):
    search = make_search()
    study = open_study(search, open_storage(f"sqlite:///{tmp_path}/study.db", create=True), "small")
    study.enqueue_trial({"train.lr": 9e-3, "input.components": "uv"})

    def task(run, seed, subject, checkpoint):
        deadly = run.train.lr == 9e-3 and subject == "sub02"
        return Task(run, seed, subject, Deadly() if deadly else checkpoint)

    monkeypatch.setattr(loso, "Task", task)
    monkeypatch.setattr(Watcher, "preparing", lambda *_: pytest.fail("the motion must not be measured again"))
    run(search, study, pool, 1, Watcher())
    before = {process.pid for process, _ in pool._workers}
    run(search, study, pool, 3, Watcher())
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert "SIGSEGV" in trials[1].user_attrs["infeasible"]
    assert trials[1].constraints == {"SIGSEGV": 1.0}
    assert trials[1].value is None
    after = {process.pid for process, _ in pool._workers}
    assert len(before & after) == pool.size - 1  # the others live on
    assert all(pool._given[worker] is search.loaded.tensors for worker in range(pool.size))
    assert len(load(trial_folder(search.out, 2) / "predictions.npz")) == len(search.subjects)
