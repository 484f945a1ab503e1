"""Trials that cannot be: too large for the device, diverging, or deadly. Each costs itself and teaches the sampler."""

import numpy as np
import optuna
import pytest
import torch
from conftest import STUDY
from deadly import Deadly
from optuna.trial import TrialState

from mer_search.config import with_values
from mer_search.errors import DOES_NOT_FIT, Infeasible, MerSearchError, UsageError
from mer_search.model.channels import n_channels
from mer_search.model.network import Network, memory
from mer_search.search import fits
from mer_search.search import study as studies
from mer_search.search.claims import FORETOLD, ended
from mer_search.search.fits import foretell
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

        def stub(search, study, trial, values, *_):
            foretell(study, trial, with_values(search.loaded.run, values))
            return evaluate(trial, values)

        monkeypatch.setattr(studies, "_evaluate", stub)
        study = open_study(search, optuna.storages.InMemoryStorage(), f"seed-{seed}")
        run(search, study, None, trials, Watcher())
        return study

    return drive


def _holds(run):
    return run.train.mixup * run.train.noise


@pytest.mark.parametrize(
    "score",
    [
        lambda one, other: 0.6 - 0.5 * ((one - 0.35) ** 2 + (other - 0.35) ** 2),
        lambda one, other: 0.4 + one * other,  # the sampler presses against the limit
    ],
    ids=["the best fits easily", "the best is the largest that fits"],
)
def test_at_most_12_of_100_trials_are_lost_where_a_third_does_not_fit(run_stubbed, monkeypatch, score):
    monkeypatch.setattr(fits, "memory", _holds)

    def evaluate(trial, values):
        one, other = values["train.mixup"], values["train.noise"]
        if one * other > LARGEST:
            raise Infeasible("the network and a batch must fit the device's memory, but do not", DOES_NOT_FIT)
        return score(one, other) + 0.02 * np.random.default_rng(trial.number).normal()

    for seed in range(5):
        study = run_stubbed(evaluate, 100, SQUARE, seed)
        lost = [trial for trial in study.get_trials() if trial.state == TrialState.PRUNED]
        tried = [trial for trial in lost if FORETOLD not in trial.user_attrs]
        assert all(trial.constraints == {DOES_NOT_FIT: 1.0} and trial.value is None for trial in lost)
        assert 1 <= len(tried) <= 12
        assert ended(study) == 100
        assert sum(trial.state == TrialState.COMPLETE for trial in study.get_trials()) == 100 - len(tried)


def test_a_trial_that_holds_no_less_than_one_that_did_not_fit_is_not_tried(run_stubbed, monkeypatch):
    monkeypatch.setattr(fits, "memory", lambda run: 3e9 * run.train.mixup)
    tried = []

    def evaluate(trial, values):
        tried.append(trial.number)
        if values["train.mixup"] > 0.4:
            raise Infeasible("must fit", DOES_NOT_FIT)
        return 0.5

    start = "".join(f'[[start]]\n"train.mixup" = {mixup}\n"train.noise" = 0.5\n' for mixup in (0.9, 0.6, 0.6, 0.7, 0.2))
    trials = run_stubbed(evaluate, 3, SQUARE + start).get_trials()
    assert tried == [0, 1, 4]
    assert [trial.user_attrs.get(FORETOLD) for trial in trials] == [None, None, 1, 1, None]
    assert trials[3].user_attrs["infeasible"] == (
        "not tried: training holds 2.1 GB at least, and trial 1's 1.8 GB at least did not fit the device's memory"
    )


def test_a_space_in_which_hardly_anything_fits_ends_the_run(run_stubbed, monkeypatch):
    monkeypatch.setattr(fits, "memory", lambda run: 3e9)
    monkeypatch.setattr(fits, "IN_A_ROW", 5)

    def evaluate(trial, values):
        raise Infeasible("must fit", DOES_NOT_FIT)

    with pytest.raises(UsageError, match=r"5 draws in a row would not: trial 0's 3 GB at least did not fit"):
        run_stubbed(evaluate, 99)


def test_what_training_holds_is_what_autograd_keeps(tiny):
    """The same on real tensors, where nothing of it can be left out: they are counted while they live."""
    run = with_values(tiny, {"model.position": False})  # its attention is fused on some devices only
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    network = Network(run)
    maps = torch.rand(run.train.batch, run.frames.maps, n_channels(run.input), run.flow.size, run.flow.size)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(maps)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    held = sum(len(tensor.untyped_storage()) for storage, tensor in kept.items() if storage not in weights)
    assert memory(run) == pytest.approx(held + 16 * sum(p.numel() for p in network.parameters()), rel=0.02)
    wider = with_values(run, {"model.stem_width": 8})
    assert memory(wider) > memory(run)
    assert memory(with_values(run, {"train.batch": 16})) > 1.5 * memory(run)


def test_what_is_infeasible_is_never_the_best_even_if_nothing_else_was_seen(run_stubbed):
    def evaluate(trial, values):
        if trial.number != 2:
            raise Infeasible("must stay finite", "finite loss")
        return 0.01

    assert best_trial(run_stubbed(evaluate, 2)) is None
    assert best_trial(run_stubbed(evaluate, 5, seed=1)).number == 2


def test_three_failures_in_a_row_end_a_run_but_neither_two_nor_what_is_infeasible(run_stubbed):
    def evaluate(trial, values, outcomes="FFCFFC" + "I" * 8 + "FFFC"):
        outcome = outcomes[trial.number]
        if outcome == "F":
            raise ValueError(f"defect {trial.number}")
        if outcome == "I":
            raise Infeasible("must stay finite", "finite loss")
        return 0.5

    with pytest.raises(MerSearchError, match="3 in a row failed, the first with: defect 14"):
        run_stubbed(evaluate, 99)


def test_a_fold_that_dies_natively_costs_its_trial_and_the_study_goes_on(tmp_path, pool, make_search, monkeypatch):
    search = make_search()
    study = open_study(search, open_storage(f"sqlite:///{tmp_path}/study.db", create=True), "small")
    study.enqueue_trial({"train.lr": 9e-3, "input.components": "uv"})

    def task(run, seed, subject, checkpoint, *rest):
        deadly = run.train.lr == 9e-3 and subject == "sub02"
        return Task(run, seed, subject, Deadly() if deadly else checkpoint, *rest)

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
