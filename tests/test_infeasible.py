"""Trials that cannot be: too large for the device, diverging, or deadly. Each costs itself and teaches the sampler."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import optuna
import pytest
import torch
from small import STUDY, drive, folds_of, over, states

from mer_search.config import with_values
from mer_search.engine.task import Task
from mer_search.engine.worker import Cancelled, execute
from mer_search.errors import CLIPS_DO_NOT_FIT, DOES_NOT_FIT, Infeasible, MerSearchError, UsageError
from mer_search.model.channels import n_channels
from mer_search.model.flops import memory
from mer_search.model.network import Network
from mer_search.search import memory_limit
from mer_search.search import study as studies
from mer_search.search.memory_limit import foretell
from mer_search.search.storage import NOT_TRIED, best_trial, ended
from mer_search.search.study import open_study
from mer_search.search.trial import trial_folder
from mer_search.training import loop

LARGEST = 0.305  # a third of the pairs in the unit square have a larger product
SQUARE = STUDY.split("[space]")[0].replace('"random"', '"tpe"') + (
    '[space]\n"train.mixup" = { float = [0.0, 1.0] }\n"train.noise" = { float = [0.0, 1.0] }\n'
)


@pytest.fixture
def run_stubbed(make_search, monkeypatch):
    """A function (evaluate, trials, text, seed) -> study, whose trials call evaluate(trial, values) alone."""

    def run(evaluate, trials, text=STUDY, seed=0):
        search = make_search(text, seed)

        def stub(search, there, trial, values, *_):
            run = with_values(search.loaded.run, values)
            try:
                foretell(there, trial, run)
                values = [evaluate(trial, values)]
                trial.set_user_attr("fold_epochs", [8, 8])
                return over(search, trial, values)
            except Exception as error:
                job = over(search, trial, error=error)
                job.loaded, job.plan = replace(search.loaded, run=run), [None] * (NOT_TRIED not in trial.user_attrs)
                return job

        monkeypatch.setattr(studies, "evaluation_job", stub)
        study = open_study(search, optuna.storages.InMemoryStorage(), f"seed-{seed}")
        drive(search, study, None, trials)
        return study

    return run


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
    monkeypatch.setattr(memory_limit, "memory", _holds)

    def evaluate(trial, values):
        one, other = values["train.mixup"], values["train.noise"]
        if one * other > LARGEST:
            raise Infeasible("the network and a batch must fit the device's memory, but do not", DOES_NOT_FIT)
        return score(one, other) + 0.02 * np.random.default_rng(trial.number).normal()

    for seed in range(2):
        study = run_stubbed(evaluate, 100, SQUARE, seed)
        lost = [trial for trial in study.get_trials() if trial.state.name == "PRUNED"]
        tried = [trial for trial in lost if NOT_TRIED not in trial.user_attrs]
        assert all(trial.constraints == {DOES_NOT_FIT: 1.0} and trial.value is None for trial in lost)
        assert 1 <= len(tried) <= 12
        assert ended(study) == 100
        assert states(study).count("COMPLETE") == 100 - len(tried)


def test_a_trial_that_holds_no_less_than_one_that_did_not_fit_is_not_tried(run_stubbed, monkeypatch):
    monkeypatch.setattr(memory_limit, "memory", lambda run: 3e9 * run.train.mixup)
    tried = []

    def evaluate(trial, values):
        tried.append(trial.number)
        if values["train.mixup"] > 0.4:
            raise Infeasible("must fit", DOES_NOT_FIT)
        return 0.5

    start = "".join(f'[[start]]\n"train.mixup" = {mixup}\n"train.noise" = 0.5\n' for mixup in (0.9, 0.6, 0.6, 0.7, 0.2))
    trials = run_stubbed(evaluate, 3, SQUARE + start).get_trials()
    assert tried == [0, 1, 4]
    assert [trial.user_attrs.get(NOT_TRIED) for trial in trials] == [None, None, 1, 1, None]
    assert trials[3].user_attrs["infeasible"] == (
        "not tried: training holds 2.1 GB at least, and trial 1's 1.8 GB at least did not fit the device's memory"
    )


def test_a_space_in_which_hardly_anything_fits_ends_the_run(run_stubbed, monkeypatch):
    monkeypatch.setattr(memory_limit, "memory", lambda run: 3e9)
    monkeypatch.setattr(memory_limit, "IN_A_ROW", 5)

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


def test_three_failures_in_a_row_end_a_run_but_neither_two_nor_what_is_infeasible(run_stubbed, tmp_path):
    def evaluate(trial, values, outcomes="FFCFFC" + "I" * 8 + "FFFC"):
        outcome = outcomes[trial.number]
        if outcome == "F":
            raise ValueError(f"defect {trial.number}")
        if outcome == "I":
            raise Infeasible("must stay finite", "finite loss")
        return 0.5

    with pytest.raises(MerSearchError, match="3 in a row failed, the first with: defect 14"):
        run_stubbed(evaluate, 99)
    assert "ValueError: defect 14" in (tmp_path / "runs/small/trial-0014/error.txt").read_text()


@pytest.mark.parametrize("always", [False, True], ids=["once", "whenever it is trained"])
def test_a_fold_that_kills_its_process_is_trained_again_and_costs_its_trial_if_it_does_it_again(
    begin, executor, monkeypatch, always
):
    search, study = begin()
    study.enqueue_trial({"train.lr": 9e-3, "input.components": "uv"})
    killed, real = [], executor.submit

    def submit(task):
        real(task)
        if task.run.train.lr == 9e-3 and task.subject == "sub02" and (always or not killed):
            killed.append(task)
            next(slot for slot in executor._slots if slot.task is task).process.kill()

    monkeypatch.setattr(executor, "submit", submit)
    seen = drive(search, study, executor, 3)
    trials = study.get_trials()
    if not always:
        assert states(study) == ["COMPLETE"] * 3
        assert seen.folds == 3 * 4  # none is trained twice
        return
    assert len(killed) == 2
    assert states(study) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert "that of sub02, seed 0, ended 2, the last one with SIGKILL" in trials[1].user_attrs["infeasible"]
    assert trials[1].constraints == {"SIGKILL": 1.0}
    assert trials[1].value is None
    assert len(folds_of(trial_folder(search.out, 2))) == len(search.subjects)


def test_clips_that_do_not_fit_the_device_end_a_run_unless_a_trials_values_change_them(begin, monkeypatch):
    search, study = begin()
    error = Infeasible("all clips must fit", CLIPS_DO_NOT_FIT)
    monkeypatch.setattr(studies, "evaluation_job", lambda search, _, trial, *__: over(search, trial, error=error))
    with pytest.raises(MerSearchError, match="all clips must fit"):
        drive(search, study, None, 3)
    assert states(study) == ["WAITING"]

    def other_clips(search, _, trial, *__):
        job = over(search, trial, error=error)
        job.loaded = replace(search.loaded, run=with_values(search.loaded.run, {"flow.size": 16}))
        return job

    monkeypatch.setattr(studies, "evaluation_job", other_clips)
    drive(search, study, None, 3)
    assert states(study) == ["PRUNED"] * 3


@pytest.mark.parametrize("error", [Cancelled, Infeasible("the loss must be finite", "loss")])
def test_a_fold_that_ends_early_leaves_nothing_in_memory(error, tiny_clips, monkeypatch):
    loaded, learners = tiny_clips(), []

    class Watched(loop.Learner):
        def __init__(self, *given):
            super().__init__(*given)
            learners.append(weakref.ref(self))

    def tell(epoch):
        raise error from ValueError()

    monkeypatch.setattr(loop, "Learner", Watched)
    told = execute(Task(loaded.run, "", 0, loaded.subjects[0], 1), lambda: loaded.tensors, tell)
    gc.collect()
    assert isinstance(told, (Cancelled, Infeasible)) and [learner() for learner in learners] == [None]
