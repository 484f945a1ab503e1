"""Races within a study: who is stopped, after how much, and with what value."""

import numpy as np
import pytest
from conftest import STUDY, Counting
from optuna.trial import TrialState

from mer_search.search import racing
from mer_search.search.progress import progress_of
from mer_search.search.storage import best_trial
from mer_search.search.study import Watcher, open_study, run, trial_folder
from mer_search.training.metrics import pooled_uf1, tail
from mer_search.training.predictions import load


@pytest.fixture
def lose(monkeypatch):
    """A function (k or None): from now on a trial loses once k folds are compared. -> what was compared, later."""

    def after(folds):
        compared = []

        def loses(race, own, best, weights, spread):
            compared.append((list(own), list(best)))
            return len(own) == folds

        monkeypatch.setattr(racing.Race, "loses", loses)
        return compared

    return after


def _estimated(first, own, best):
    """What a stopped trial's value must be: all people weigh the same here."""
    return pytest.approx(max(0, first.value - np.mean(np.subtract(best, own))))


def test_a_trial_that_loses_its_race_gets_an_estimate(storage, pool, make_search, lose):
    search = make_search(STUDY.replace('"none"', '"recall"'))
    study = open_study(search, storage, "small")
    run(search, study, pool, 1, Watcher())
    raced = lose(1)
    run(search, study, pool, 2, Watcher())
    first, second = study.get_trials()
    assert second.user_attrs["stopped_after"] == 1
    ((step, recall),) = second.intermediate_values.items()
    assert raced == [([recall], [first.intermediate_values[step]])]  # the same subject's
    assert second.state == TrialState.COMPLETE
    assert second.value == _estimated(first, *raced[-1])
    assert best_trial(study).number == 0
    assert len(load(trial_folder(search.out, 1) / "predictions.npz")) in (1, 2)  # one under way may have been kept
    facts = progress_of(study)
    assert facts["trials"] == {"complete": 1, "stopped early": 1}
    assert facts["fold_epochs"] == {"trained": 4 * 2 + 2, "without_a_race": 2 * 4 * 2}


RUNGS = STUDY.replace('"none"', '"recall-rungs"').replace('"train.epochs" = 2', '"train.epochs" = 4')


def test_a_race_with_rungs_trains_everybody_a_little_first(storage, pool, make_search, lose):
    """Of four epochs one comes first; the second trial is stopped there, and the third only at the end."""
    search, watcher = make_search(RUNGS), Counting()
    study = open_study(search, storage, "small")
    run(search, study, pool, 1, watcher)
    assert watcher.epochs == 4 * 4  # nothing is trained twice
    first = study.get_trials()[0]
    folds = load(trial_folder(search.out, 0) / "predictions.npz")
    assert first.value == pooled_uf1(folds, tail)
    assert set(first.intermediate_values) == set(range(8))
    raced = lose(3)
    run(search, study, pool, 2, Watcher())
    second = study.get_trials()[1]
    assert (second.user_attrs["stopped_after"], second.user_attrs["stopped_epochs"]) == (3, 1)
    assert second.user_attrs["fold_epochs"] == [3, 16]
    kept = load(trial_folder(search.out, 1) / "predictions.npz")  # the fourth was under way, and may have been kept
    assert [fold.epochs for fold in kept] in ([1] * 3, [1] * 4)
    for _, best in raced:  # the best one's after as many epochs
        assert set(best) <= {first.intermediate_values[step] for step in range(4)}
    assert second.value == _estimated(first, *raced[-1])
    lose(None)
    run(search, study, pool, 3, Watcher())
    third = study.get_trials()[2]
    assert third.user_attrs["fold_epochs"] == [16, 16]
    assert not list(search.out.glob("*/unfinished"))


@pytest.mark.parametrize("folds", [2, 5], ids=["at the first rung", "at the second"])
def test_a_trial_interrupted_at_a_rung_is_taken_up_there(storage, pool, make_search, folds):
    search = make_search(RUNGS)
    study = open_study(search, storage, "small")
    with pytest.raises(KeyboardInterrupt):
        run(search, study, pool, 1, Counting(stop_after=folds))
    again, watcher = open_study(search, storage, "small"), Counting()
    run(search, again, pool, 1, watcher)
    finished = min(folds, 4) + 3 * max(0, folds - 4)
    assert 0 <= 16 - finished - watcher.epochs <= (2 if folds < 4 else 3)  # a fold under way may have been kept
    whole = make_search(RUNGS.replace("recall-rungs", "none"))
    object.__setattr__(whole, "out", search.out.with_name("whole"))
    other = open_study(whole, storage, "whole")
    run(whole, other, pool, 1, Watcher())
    assert again.get_trials()[0].value == other.get_trials()[0].value
    pairs = [{fold.subject: fold for fold in load(trial_folder(s.out, 0) / "predictions.npz")} for s in (search, whole)]
    for subject in search.subjects:
        np.testing.assert_array_equal(pairs[0][subject].probabilities, pairs[1][subject].probabilities)
