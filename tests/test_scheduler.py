"""Trials in flight: what a search finds depends on their number, and on neither slots nor timing."""

import random
from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from small import STUDY, drive

from mer_search.config import with_values
from mer_search.confirmation.confirm import Confirmation, train
from mer_search.confirmation.target import Target
from mer_search.engine.task import Failed, Finished, Progress
from mer_search.engine.where import Where
from mer_search.errors import Infeasible, MerSearchError
from mer_search.search.scheduler import Scheduler, Want, list_job
from mer_search.search.session import open_session
from mer_search.search.study import open_study, run
from mer_search.training.loop import train_fold

PRUNED = (
    STUDY.replace('"none"', '"recall-rungs"').replace('"train.epochs" = 2', '"train.epochs" = 4')
    .replace('sampler = "random"', 'sampler = "tpe"')
    .replace("[space]", '[space]\n"train.noise" = { float = [0.0, 3.0] }')
)  # fmt: skip


TRAINED = {}  # folds, which are the same for whoever trains them


class Shuffled:
    """An executor that trains in this process, and tells of its tasks in whatever order: as a cluster might."""

    def __init__(self, slots, seed=0):
        self.slots, self.random, self.clips, self.events, self.cancelled = slots, random.Random(seed), {}, [], set()
        self.submitted, self.begun = [], {}

    @property
    def free(self):
        return self.slots - len({event.task for event in self.events})

    def put(self, dataset, clips):
        self.clips[dataset] = clips

    def keep_only(self, datasets):
        self.clips = {name: clips for name, clips in self.clips.items() if name in datasets}

    def discard(self, state):
        assert state

    def cancel(self, task):
        self.cancelled.add(task)

    def submit(self, task):
        assert self.free > 0
        self.submitted.append(task)
        key = task.run, task.dataset, task.subject, task.seed
        if key not in TRAINED:
            TRAINED[key] = train_fold(task.run, self.clips[task.dataset], task.subject, task.seed)
        fold, history = TRAINED[key].predictions, TRAINED[key].history[: task.epochs]
        self.events += [Progress(task, epoch) for epoch in history[self.begun.get(task.state, 0) :]]
        self.events.append(Finished(task, fold.until(task.epochs), history))
        self.begun[task.state] = task.epochs

    def poll(self):
        task = self.random.choice(sorted({event.task for event in self.events}, key=self.submitted.index))
        event = next(event for event in self.events if event.task is task)
        self.events.remove(event)
        return [] if task in self.cancelled else [event]


def _trials(study):
    return [(trial.state, trial.params, trial.values, trial.intermediate_values) for trial in study.get_trials()]


@pytest.fixture
def searched(make_search, tmp_path, monkeypatch):
    """A function (name, executor, in flight, trials) -> the study's trials and the scheduler after such a search."""
    monkeypatch.setattr("mer_search.search.samplers.START_UP", 2)

    def search_as(name, executor, in_flight, trials=8):
        search = replace(make_search(PRUNED), out=tmp_path / "runs" / name)
        study = open_study(search, InMemoryStorage(), name)
        scheduler = Scheduler(executor, in_flight)
        for _ in run(search, study, scheduler, trials):
            pass
        return _trials(study), scheduler

    return search_as


def test_a_search_is_the_same_on_any_number_of_slots_in_any_order(searched, executor):
    for in_flight in (1, 3):
        first, alone = searched(f"one-{in_flight}", Shuffled(1), in_flight)
        several, ahead = searched(f"many-{in_flight}", Shuffled(5, seed=in_flight), in_flight)
        processes, _ = searched(f"processes-{in_flight}", executor, in_flight)
        assert first == several == processes
        assert {state for state, *_ in first} == {TrialState.COMPLETE}
        assert alone.wasted == 0 < ahead.wasted < ahead.trained
    assert searched("one-again", Shuffled(1), 1)[0] != first  # what a trial knows of depends on how many are in flight


def test_trials_are_told_in_the_order_of_their_numbers_and_one_is_asked_for_after_each(begin, monkeypatch):
    (search, study), log = begin(), []
    for what in ("ask", "tell"):
        real = getattr(study, what)

        def noted(*given, what=what, real=real, **named):
            log.append((what, given[0].number if given else None))
            return real(*given, **named)

        monkeypatch.setattr(study, what, noted)
    drive(search, study, Shuffled(6, seed=1), 6, in_flight=3)
    asks = [("ask", None)]
    expected = 3 * asks + [event for n in range(3) for event in [("tell", n), *asks]] + [("tell", n) for n in (3, 4, 5)]
    assert log == expected


@pytest.mark.parametrize("folds", [1, 7, 12])
@pytest.mark.filterwarnings("error::UserWarning")  # as of a mark that is set again
def test_a_search_with_several_in_flight_goes_on_as_if_it_had_not_been_stopped(searched, begin, storage, folds):
    whole, _ = searched("whole", Shuffled(1), 3, 6)
    search, study = begin(PRUNED)
    with pytest.raises(KeyboardInterrupt):
        drive(search, study, Shuffled(4), 6, in_flight=3, stop_after=folds)
    study = open_study(search, storage, "small")
    assert TrialState.RUNNING not in [trial.state for trial in study.get_trials()]
    drive(search, study, Shuffled(2), 6, in_flight=3)
    assert _trials(study) == whole


def test_a_fold_trained_ahead_that_cannot_be_trained_changes_nothing_unless_it_is_needed(begin, monkeypatch):
    """A pruner stops the second trial after two folds; its last one, which is trained meanwhile, diverges."""
    search, study = begin(STUDY.replace('"none"', '"recall"'))
    monkeypatch.setattr(
        "mer_search.search.pruner.Pruner.is_inferior", lambda self, own, *_: len(own) == 2 and len(study.trials) == 2
    )
    one, real = Shuffled(4), Shuffled.submit

    def submit(self, task):
        real(self, task)
        if len(self.submitted) == 8:
            self.events[-1] = Failed(task, Infeasible("must stay finite", "finite loss"))
            self.events.insert(0, self.events.pop())

    monkeypatch.setattr(Shuffled, "submit", submit)
    drive(search, study, one, 2)
    second = study.get_trials()[1]
    assert (second.state, second.user_attrs["stopped_after"]) == (TrialState.COMPLETE, 2)


def test_the_first_trial_has_the_slots_and_what_it_leaves_is_the_nexts(begin):
    (search, study), executor = begin(PRUNED), Shuffled(6)
    scheduler = Scheduler(executor, 2)
    next(run(search, study, scheduler, 2))
    loaded = [task.run for task in executor.submitted]
    assert loaded[:4] == [search.loaded.with_values(study.trials[0].params, lambda *_: None).run] * 4
    assert len({task.subject for task in executor.submitted[4:6]}) == 2  # of the second, whose rungs have begun
    assert [task.epochs for task in executor.submitted] == [1] * 6


def test_a_defect_in_what_wants_the_folds_is_the_jobs_and_others_go_on(make_search, tmp_path):
    loaded = make_search().loaded
    wants = [Want(0, subject, 2) for subject in ("sub01", "sub02")]

    def needs():
        yield wants[0]
        raise ValueError("a defect")

    jobs = [list_job(name, loaded, tmp_path / name, wants) for name in ("broken", "whole")]
    jobs[0].needs = needs()
    left = iter(jobs)
    ended = [job for job, event in Scheduler(Shuffled(2), 2).run(lambda: next(left, None)) if event is None]
    assert [str(job.error) for job in ended] == ["a defect", "None"]
    assert [fold.subject for fold in jobs[1].outcome] == ["sub01", "sub02"]


def test_a_confirmation_whose_fold_cannot_be_trained_names_it(executor, make_search, tmp_path):
    loaded = make_search().loaded
    values = {"train.lr": 10.0, "train.weight_decay": 10.0, "train.epochs": 40}
    broken = replace(loaded, run=with_values(loaded.run, values))
    target = Target(broken.run, "small", tmp_path / "small")
    job = Confirmation(target, broken, ("sub01", "sub02"), (1000,))
    with pytest.raises(
        MerSearchError, match=r"^small must be trained on all folds, but one cannot: loss .* of sub0[12]"
    ):
        train([job], executor, lambda *_: None)


def test_slots_and_trials_in_flight_are_kept_in_the_study(make_search, tmp_path):
    search, found = make_search(), []
    for slots, in_flight in ((1, None), (5, None), (40, None), (3, 4), (None, None)):
        with open_session(search, f"sqlite:///{tmp_path}/s.db", "small", Where(slots=slots), in_flight) as session:
            found.append((session.executor.slots, session.scheduler.in_flight))
            if slots == 1:
                session.study.set_user_attr("in_flight", None)
    assert found == [(1, 1), (5, 2), (40, 2), (3, 4), (3, 4)]  # of four subjects; then as before
