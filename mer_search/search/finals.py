"""Finals: a search's best trials are trained with further seeds, so that luck with the first one does not choose.

The finalists are scored on the study's subjects again, one seed after the other. Before each seed, finalists that lie
clearly behind the leader are out, as in a pruner; the others are ranked by their mean UF1 over all seeds, and the first
of them is the study's best trial.
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from mer_search.evaluation.metrics import RULES, pooled_uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.search import pruner as pruners
from mer_search.search.incumbent import Incumbents, find_incumbents
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import FINALS, FINALS_OVER, ranked
from mer_search.search.study import Lost, Scored, folds_job, train_lists
from mer_search.search.trial import Search
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
    the study; yield what happens. What an earlier call has trained is not trained again.

    Raises:
        MerSearchError: if a fold cannot be trained.
    """
    left = finalists(search, study)
    jury = find_incumbents([], search.folder, search.loaded, search.subjects, pruners.FINALS, RULES[search.file.rule])
    found = {trial.number: [list(load_folds(search.folder(trial.number)).values())] for trial in left}
    told = study.user_attrs.get(FINALS, {})
    study.set_user_attr(FINALS_OVER, len(left) < 2)
    for seed in further_seeds(search.seed):
        uf1 = [np.mean([_uf1(folds, search) for folds in found[trial.number]]) for trial in left]
        scores = [_scores(found[trial.number], jury) for trial in left]
        left = [left[place] for place in pruners.still_in(uf1, scores, jury.weights)] if left else []
        if len(left) < 2:
            break
        jobs = {}
        for trial in left:
            folder = final_folder(search.out, trial.number)
            jobs[folds_job(search, trial, folder, seed, search.subjects, progress)] = trial.number
        for number, folds in (yield from train_lists(scheduler, jobs)).items():
            found[number].append(folds)
        _keep(study, found, search)
        for trial in left:
            uf1_by_seed = tuple(_uf1(folds, search) for folds in found[trial.number])
            if len(told.get(str(trial.number), ())) < len(uf1_by_seed) - 1:  # not by an earlier call
                yield Final(trial.number, uf1_by_seed)
    study.set_user_attr(FINALS_OVER, True)


def further_seeds(own: int) -> range:
    """The seeds of the finals of a search with its own."""
    return range(own + FIRST_SEED, own + FIRST_SEED + SEEDS)


def final_folder(out: Path, number: int) -> Path:
    """Where a finalist's folds with further seeds are, in its study's folder."""
    return out / "finals" / f"trial-{number}"


def _uf1(folds: Sequence[Predictions], search: Search) -> float:
    return pooled_uf1(folds, RULES[search.file.rule])


def _keep(study: optuna.Study, found: dict[int, list[list[Predictions]]], search: Search) -> None:
    """Note each finalist's UF1 with every further seed."""
    told = {
        str(number): [_uf1(folds, search) for folds in further] for number, (_, *further) in found.items() if further
    }
    study.set_user_attr(FINALS, study.user_attrs.get(FINALS, {}) | told)


def _scores(seeds: Sequence[Sequence[Predictions]], jury: Incumbents) -> np.ndarray:
    """(S,) scores of the study's subjects, mean over seeds."""
    by_subject = [{fold.subject: jury.score(fold) for fold in folds} for folds in seeds]
    return np.asarray(np.mean([[scored[subject] for subject in jury.subjects] for scored in by_subject], axis=0))
