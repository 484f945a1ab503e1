"""What a trial is compared with: the best trial told before it was asked for, and others that ran to their end.

They are compared at the same epoch, so their folds are read from where they are kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from mer_search.evaluation.metrics import Rule, pooled_uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.search import pruner as pruners
from mer_search.search.storage import ran_to_its_end, ranked
from mer_search.search.workspace import Loaded
from mer_search.training.fold_store import load_folds

Folds = Mapping[str, Predictions]  # by subject


@dataclass(frozen=True)
class Incumbents:
    """The best trial and others, as a trial finds them. Shapes: S subjects of the study, K classes."""

    pruner: pruners.Pruner
    rule: Rule
    subjects: Sequence[str]  # S
    class_weights: NDArray[np.float64]  # (K,) what a clip of each class weighs
    weights: NDArray[np.float64]  # (S,) what a subject weighs
    best: Folds | None = None
    others: Sequence[Folds] = ()

    def score(self, fold: Predictions) -> float:
        """A score of one subject."""
        return float(pruners.MEASURES[self.pruner.measure].of(self.rule(fold), fold.labels, self.class_weights))

    def at(self, epochs: int) -> pruners.Incumbent | None:
        """What to compare with after so many epochs; None while no trial has run to its end."""
        if self.best is None:
            return None
        return pruners.incumbent_of(
            self._scores(self.best, epochs), [self._scores(folds, epochs) for folds in self.others], self.weights
        )

    def _scores(self, folds: Folds, epochs: int) -> list[float]:
        return [self.score(folds[subject].until(epochs)) for subject in self.subjects]

    def estimate(self, behind: float) -> float:
        """What the UF1 of a trial may be that was stopped when it lay so much behind."""
        assert self.best is not None  # noqa: S101 (for the type checker: without an incumbent no trial is stopped)
        return pruners.estimate(pooled_uf1(list(self.best.values()), self.rule), behind)


def find_incumbents(
    told: Sequence[FrozenTrial],
    folder: Callable[[int], Path],
    loaded: Loaded,
    subjects: Sequence[str],
    pruner: pruners.Pruner,
    rule: Rule,
) -> Incumbents:
    """What the next trial of a study on these clips and subjects is compared with; nothing if none is ever stopped.

    Args:
        told: the trials that were told before it was asked for.
        folder: where a trial of that number has its folds.

    Raises:
        DataError: if a trial's folds are damaged.
    """
    owner = np.array(loaded.folds)
    labels = loaded.labels[np.isin(owner, subjects)]
    each = pruners.MEASURES[pruner.measure].class_weights(labels, len(loaded.run.data.classes))
    weights = np.array([each[loaded.labels[owner == subject]].sum() for subject in subjects])
    alone = Incumbents(pruner, rule, subjects, each, weights)
    best = next(iter(ranked(told, {})), None) if pruner.stops_some else None
    if best is None:
        return alone
    whole = [trial.number for trial in told if ran_to_its_end(trial) and trial.number != best.number]
    first, *rest = (_folds(folder(number)) for number in (best.number, *whole[-pruners.MAX_OTHERS :]))
    there = [folds for folds in rest if set(subjects) <= set(folds)]  # not those whose folder was deleted
    return replace(alone, best=first, others=there) if set(subjects) <= set(first) else alone


@lru_cache(2 * pruners.MAX_OTHERS)
def _folds(folder: Path) -> Folds:
    """Of a trial that has ended, so they never change."""
    return {fold.subject: fold for fold in load_folds(folder).values()}
