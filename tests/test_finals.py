"""Finals: the best trials get further seeds, which decide between them, and nothing is trained twice."""

import re
from contextlib import closing
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
from optuna.trial import create_trial
from optuna_dashboard._note import get_note_from_system_attrs as note_of
from small import STUDY, folds_of, silent

from mer_search.evaluation.metrics import pooled_uf1, tail
from mer_search.evaluation.predictions import save
from mer_search.report import live
from mer_search.report.trials import state_line
from mer_search.search.cost import NOTHING, search_cost
from mer_search.search.finals import SEEDS, Final, final_folder, finalists, further_seeds, run_finals
from mer_search.search.progress import progress_of
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import FINALS, best_trial, ranked_trials
from mer_search.search.study import Scored

TEXT = STUDY.replace("finalists = 0", "finalists = 2").replace("trials = 3", "trials = 4")


def play(search, study, executor, stop_after=None):
    """The finals' events; perhaps stopped after so many folds."""
    seen = []
    with closing(run_finals(search, study, Scheduler(executor, 2))) as events:
        for event in events:
            seen.append(event)
            if sum(isinstance(each, Scored) for each in seen) == stop_after:
                break
    return seen


@pytest.fixture
def searched(begin):
    """A search whose four trials were told, and its study."""
    return begin(TEXT, trials=4)


def test_finalists_get_further_seeds_whose_mean_decides(searched, executor):
    search, study = searched
    by_own_seed = [trial.number for trial in ranked_trials(study)]
    assert [trial.number for trial in finalists(search, study)] == by_own_seed[:2]
    assert [type(event) for event in play(search, study, executor)].count(Final) == 2 * SEEDS
    values, means = study.user_attrs[FINALS], {}
    for number in by_own_seed[:2]:
        folds = folds_of(final_folder(search.out, number))
        assert {fold.subject for fold in folds} == set(search.subjects)
        by_seed = [[fold for fold in folds if fold.seed == seed] for seed in further_seeds(search.seed)]
        scores = [pooled_uf1(each, tail) for each in by_seed]
        assert values[str(number)] == scores
        means[number] = np.mean([study.get_trials()[number].value, *scores])
    assert best_trial(study).number == max(means, key=means.get)
    assert {trial.number for trial in ranked_trials(study)[:2]} == set(by_own_seed[:2])  # before all others


def test_finals_that_are_to_come_or_were_stopped_are_told_and_go_on_where_they_were(searched, executor):
    search, study = searched
    told = "; the finals are not over, `mer-search run` holds them when all trials have ended"
    assert told in state_line(progress_of(study))
    play(search, study, executor, stop_after=3)
    assert FINALS not in study.user_attrs
    assert search_cost(search, study, executor, 4, 1, silent) == NOTHING._replace(finals=2 * SEEDS * 4)
    assert told in state_line(progress_of(study))
    there = {path: path.stat().st_mtime_ns for path in search.out.glob("finals/*/folds/*.npz")}
    assert len(there) >= 3
    play(search, study, executor)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert play(search, study, executor) == []  # nor is it told again
    assert told not in state_line(progress_of(study))
    assert search_cost(search, study, executor, 4, 1, silent) == NOTHING
    best = best_trial(study)
    assert progress_of(study)["best"]["uf1_in_finals"] == mean(
        [best.value, *study.user_attrs[FINALS][str(best.number)]]
    )


def test_who_lies_clearly_behind_the_leader_is_out(begin, executor, capsys):
    search, study = begin(TEXT.replace("finalists = 2", "finalists = 3"), trials=4)
    worst = finalists(search, study)[-1].number
    for fold in folds_of(search.folder(worst)):  # as if it had told every clip wrong, and was sure of it
        wrong = np.eye(3, dtype=np.float16)[(fold.labels + 1) % 3]
        save(search.folder(worst) / "folds" / f"{fold.seed}-{fold.subject}.npz",
             replace(fold, probabilities=np.broadcast_to(wrong, fold.probabilities.shape).copy()))  # fmt: skip
    play(search, study, executor)
    seeds = {int(number): len(found) for number, found in study.user_attrs[FINALS].items()}
    assert worst not in seeds
    live.print_left_out(search, study)
    told = " ".join(capsys.readouterr().err.split())
    assert told == f"finals: of the best trials, trial {worst} lay clearly behind, and got no further seed"
    assert set(seeds.values()) == {SEEDS}
    finals = study.user_attrs[FINALS]
    study.set_user_attr(FINALS, finals | {str(worst): [1.0]})  # who left before the last seed, which was bad for all
    assert best_trial(study).number != worst


def test_a_trial_that_was_added_by_hand_has_no_folds_and_is_no_finalist(searched, executor):
    search, study = searched
    study.add_trial(create_trial(value=0.99))
    assert len(play(search, study, executor)) > 0
    assert best_trial(study).number != 4 and "4" not in study.user_attrs[FINALS]


@pytest.mark.parametrize("finalists", [0, 1])
def test_fewer_than_two_finalists_are_not_trained_again(begin, executor, finalists):
    search, study = begin(TEXT.replace("finalists = 2", f"finalists = {finalists}"), trials=2)
    assert play(search, study, executor) == []
    assert FINALS not in study.user_attrs
    assert search_cost(search, study, executor, 4, 1, silent).finals == 0


def test_a_single_trial_has_no_finals_that_cost(begin, executor):
    search, study = begin(TEXT)
    found = [search_cost(search, study, executor, trials, 1, silent) for trials in (1, 2)]
    assert [cost.finals for cost in found] == [0, 2 * SEEDS * 4]
    assert found[1].flop == pytest.approx(2 * (1 + SEEDS) * found[0].flop)  # a trial's folds are four, too


def test_the_cost_of_finals_is_told_before_and_their_outcome_in_the_dashboard(
    searched, executor, make_search, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(live, "FIRST", 0.0)
    search, study = searched
    assert search_cost(search, study, executor, 5, 1, silent).finals == 2 * SEEDS * 4
    with live.Live(study, 4, 4, tmp_path) as shown:
        for event in play(search, study, executor):
            shown.show(event)
    assert re.search(r"^finals, trial \d+: .* of \d.*; 4 of 4 trials have ended$", capsys.readouterr().err, re.M)
    order = [trial.number for trial in ranked_trials(study)]
    note = note_of(study._storage.get_study_system_attrs(study._study_id), None)["body"]
    assert [int(number) for number in re.findall(r"^\| \**(\d+)\** \|", note, re.M)][: len(order)] == order
