"""Pruners within a study: who is stopped, after how much, and with what value."""

from dataclasses import replace

import numpy as np
import pytest
from optuna.trial import TrialState
from small import STUDY, drive, folds_of

from mer_search.evaluation.metrics import pooled_uf1, tail
from mer_search.search import pruner as pruners
from mer_search.search.progress import progress_of
from mer_search.search.storage import best_trial
from mer_search.search.study import open_study
from mer_search.search.trial import trial_folder


@pytest.fixture
def lose(monkeypatch):
    """A function (k or None): from now on a trial loses once k folds are compared. -> what was compared, later."""

    def after(folds):
        compared = []

        def is_inferior(pruner, own, best, weights, variance):
            compared.append((list(own), list(best)))
            return len(own) == folds

        monkeypatch.setattr(pruners.Pruner, "is_inferior", is_inferior)
        return compared

    return after


def _estimated(first, own, best):
    """What a stopped trial's value must be: all people weigh the same here."""
    return pytest.approx(max(0, first.value - np.mean(np.subtract(best, own))))


def test_a_trial_that_loses_its_race_gets_an_estimate(begin, executor, lose):
    search, study = begin(STUDY.replace('"none"', '"recall"'), trials=1)
    pruned = lose(1)
    drive(search, study, executor, 2)
    first, second = study.get_trials()
    assert second.user_attrs["stopped_after"] == 1
    ((step, recall),) = second.intermediate_values.items()
    assert pruned == [([recall], [first.intermediate_values[step]])]  # the same subject's
    assert second.state == TrialState.COMPLETE
    assert second.value == _estimated(first, *pruned[-1])
    assert best_trial(study).number == 0
    kept = {fold.subject for fold in folds_of(trial_folder(search.out, 1))}  # others may have ended before the first
    assert search.subjects[pruners.subject_order(4, search.seed, 1)[0]] in kept
    facts = progress_of(study)
    assert facts["trials"] == {"complete": 1, "stopped early": 1}
    assert facts["fold_epochs"] == {"trained": 4 * 2 + 2, "without_pruning": 2 * 4 * 2}


RUNGS = STUDY.replace('"none"', '"recall-rungs"').replace('"train.epochs" = 2', '"train.epochs" = 4')


def test_a_pruner_with_rungs_trains_everybody_a_little_first(begin, executor, lose):
    """Of four epochs one comes first; the second trial is stopped there, and the third only at the end."""
    search, study = begin(RUNGS)
    assert drive(search, study, executor, 1).epochs == 4 * 4  # nothing is trained twice
    first = study.get_trials()[0]
    folds = folds_of(trial_folder(search.out, 0))
    assert first.value == pooled_uf1(folds, tail)
    assert set(first.intermediate_values) == set(range(8))
    pruned = lose(3)
    drive(search, study, executor, 2)
    second = study.get_trials()[1]
    assert (second.user_attrs["stopped_after"], second.user_attrs["stopped_epochs"]) == (3, 1)
    assert second.user_attrs["fold_epochs"] == [3, 16]
    kept = folds_of(trial_folder(search.out, 1))  # the fourth was under way, and may have been kept
    assert [fold.epochs for fold in kept] in ([1] * 3, [1] * 4)
    for _, best in pruned:  # the best one's after as many epochs
        assert set(best) <= {first.intermediate_values[step] for step in range(4)}
    assert second.value == _estimated(first, *pruned[-1])
    assert first.constraints == {"stopped early": 0}  # as Optuna's plots show
    assert second.constraints["stopped early"] > 0
    assert study.best_trial.number == 0
    lose(None)
    drive(search, study, executor, 3)
    third = study.get_trials()[2]
    assert third.user_attrs["fold_epochs"] == [16, 16]
    assert not list(search.out.glob("*/unfinished"))


@pytest.mark.parametrize("folds", [2, 5], ids=["at the first rung", "at the second"])
def test_a_trial_interrupted_at_a_rung_is_taken_up_there(begin, storage, executor, make_search, folds):
    search, study = begin(RUNGS)
    with pytest.raises(KeyboardInterrupt):
        drive(search, study, executor, 1, stop_after=folds)
    again = open_study(search, storage, "small")
    seen = drive(search, again, executor, 1)
    finished = sum(fold.epochs for fold in folds_of(trial_folder(search.out, 0)))
    assert finished == 16 >= seen.epochs
    assert seen.epochs <= 16 - min(folds, 4) - 3 * max(0, folds - 4)  # no finished fold is trained again
    whole = replace(make_search(RUNGS.replace("recall-rungs", "none")), out=search.out.with_name("whole"))
    other = open_study(whole, storage, "whole")
    drive(whole, other, executor, 1)
    assert again.get_trials()[0].value == other.get_trials()[0].value
    pairs = [{fold.subject: fold for fold in folds_of(trial_folder(s.out, 0))} for s in (search, whole)]
    for subject in search.subjects:
        np.testing.assert_array_equal(pairs[0][subject].probabilities, pairs[1][subject].probabilities)
