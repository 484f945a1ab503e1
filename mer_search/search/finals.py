"""Finals: a search's best trials are trained with further seeds, so that luck with the first one does not choose.

The finalists are scored on the study's subjects again, one seed after the other. Before each seed, finalists that lie
clearly behind the leader are out, as in a pruner; the others are ranked by their mean UF1 over all seeds, and the first
of them is the study's best trial.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from mer_search.evaluation.metrics import RULES, pooled_uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.search import pruner as pruners
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import FINALS, FINALS_OVER, ranked
from mer_search.search.study import Lost, Scored, folds_job, train_lists
from mer_search.search.trial import Search, final_folder, find_incumbents
from mer_search.search.workspace import Progress, silent
from mer_search.training.fold_store import load_folds

SEEDS = 2  # further ones, at most
FIRST_SEED = 98  # above the search's own, whose repeats have those that follow it


class Final(NamedTuple):
    """A finalist has been scored with one more seed."""

    number: int
    uf1_by_seed: tuple[float, ...]  # the first is the trial's own


def finalists(search: Search, study: optuna.Study) -> list[FrozenTrial]:
    """The study's best trials by their own seed."""
    return ranked(study.get_trials(deepcopy=False), {})[: search.file.most_finalists]


def run_finals(
    search: Search, study: optuna.Study, scheduler: Scheduler, progress: Progress = silent
) -> Generator[Scored | Lost | Final]:
    """Score the finalists of a search whose trials have all been told with further seeds, and keep what was found in
    the study; yield what happens. What an earlier call has trained is not trained again."""
    left = finalists(search, study)
    jury, rule = find_incumbents(search, [], pruners.FINALS), RULES[search.file.rule]
    folds = {trial.number: [list(load_folds(search.folder(trial.number)).values())] for trial in left}  # of each seed
    uf1 = {number: [pooled_uf1(own, rule)] for number, (own,) in folds.items()}
    told = study.user_attrs.get(FINALS, {})
    study.set_user_attr(FINALS_OVER, len(left) < 2)

    def mean_scores(seeds: list[list[Predictions]]) -> np.ndarray:
        """(S,) scores of the study's subjects."""
        by_subject = [{fold.subject: jury.score(fold) for fold in own} for own in seeds]
        scores = [[scored[subject] for subject in search.subjects] for scored in by_subject]
        return np.asarray(np.mean(scores, axis=0))

    for seed in further_seeds(search.seed):
        if left:
            scores = [mean_scores(folds[trial.number]) for trial in left]
            means = [np.mean(uf1[trial.number]) for trial in left]
            left = [left[place] for place in pruners.still_in(means, scores, jury.weights)]
        if len(left) < 2:
            break
        jobs = {}
        for trial in left:
            folder = final_folder(search.out, trial.number)
            jobs[folds_job(search, trial, folder, seed, search.subjects, progress)] = trial.number
        for number, found in (yield from train_lists(scheduler, jobs)).items():
            folds[number].append(found)
            uf1[number].append(pooled_uf1(found, rule))
        further = {str(number): scores[1:] for number, scores in uf1.items() if len(scores) > 1}
        study.set_user_attr(FINALS, study.user_attrs.get(FINALS, {}) | further)
        for trial in left:
            if len(told.get(str(trial.number), ())) < len(uf1[trial.number]) - 1:  # not by an earlier call
                yield Final(trial.number, tuple(uf1[trial.number]))
    study.set_user_attr(FINALS_OVER, True)


def further_seeds(own: int) -> range:
    """The seeds of the finals of a search with its own."""
    return range(own + FIRST_SEED, own + FIRST_SEED + SEEDS)
