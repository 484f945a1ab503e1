"""Whom a trial races with: the best one before it, and how much others differ from that from person to person.

They are compared at the same epoch, so their folds are read from where they are kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.search import racing
from mer_search.search.storage import best_trial, ran_to_its_end
from mer_search.search.workspace import Loaded
from mer_search.training.loso import PREDICTIONS
from mer_search.training.metrics import Rule, pooled_uf1
from mer_search.training.predictions import Predictions, load

Folds = Mapping[str, Predictions]  # by subject


@dataclass(frozen=True)
class Mark:
    """What a trial is compared with at a rung. Shapes: S subjects of the study."""

    best: NDArray[np.float64]  # (S,) the best trial's scores, at the same epoch
    spread: float | None


@dataclass(frozen=True)
class Rivals:
    """As a trial finds them when it starts. Shapes: S subjects of the study, K classes."""

    race: racing.Race
    rule: Rule
    subjects: Sequence[str]  # S
    worth: NDArray[np.float64]  # (K,) what a clip of each class weighs
    weights: NDArray[np.float64]  # (S,) what a subject weighs
    best: Folds | None
    others: Sequence[Folds]

    def score(self, fold: Predictions) -> float:
        """A score of one person."""
        return float(racing.MEASURES[self.race.measure].of(self.rule(fold), fold.labels, self.worth))

    def mark(self, epochs: int) -> Mark | None:
        """What to compare with after so many epochs; None while nobody has run to the end."""
        if self.best is None:
            return None
        best = self._scores(self.best, epochs)
        others = [self._scores(folds, epochs) for folds in self.others]
        return Mark(best, racing.spread(others, best, self.weights))

    def _scores(self, folds: Folds, epochs: int) -> NDArray[np.float64]:
        return np.array([self.score(folds[subject].until(epochs)) for subject in self.subjects])

    def beat(self, scores: Mapping[int, float], mark: Mark) -> bool:
        """Whether a trial loses the race, with these scores, by the subject's place, so far."""
        places = list(scores)
        return self.race.loses(list(scores.values()), mark.best[places], self.weights[places], mark.spread)

    def estimate(self, scores: Mapping[int, float], mark: Mark) -> float:
        """What the UF1 of a trial that lost with these scores may be."""
        assert self.best is not None  # noqa: S101 (for the type checker: nobody else could have won the race)
        places, best = list(scores), pooled_uf1(list(self.best.values()), self.rule)
        return racing.estimate(best, list(scores.values()), mark.best[places], self.weights[places])


def find_rivals(
    study: optuna.Study,
    folder: Callable[[int], Path],
    loaded: Loaded,
    subjects: Sequence[str],
    race: racing.Race,
    rule: Rule,
) -> Rivals:
    """The rivals of the next trial of a study on these clips and subjects; none if nobody is ever stopped.

    Args:
        folder: where a trial of that number has its folds.

    Raises:
        DataError: if a trial's folds are damaged.
    """
    people = np.array(loaded.subjects)
    labels = loaded.labels[np.isin(people, subjects)]
    worth = racing.MEASURES[race.measure].worth(labels, len(loaded.run.data.classes))
    weights = np.array([worth[loaded.labels[people == subject]].sum() for subject in subjects])
    rivals = Rivals(race, rule, subjects, worth, weights, None, ())
    best = best_trial(study) if race.stops_some else None
    if best is None:
        return rivals
    whole = filter(ran_to_its_end, study.get_trials(deepcopy=False))
    others = [trial.number for trial in whole if trial.number != best.number][-racing.RECENT :]
    first, *rest = (_folds(folder(number)) for number in (best.number, *others))
    there = [folds for folds in rest if set(subjects) <= set(folds)]  # not those whose folder was deleted
    return replace(rivals, best=first, others=there) if set(subjects) <= set(first) else rivals


@lru_cache(2 * racing.RECENT)
def _folds(folder: Path) -> Folds:
    """Of a trial that has ended, so they never change."""
    return {fold.subject: fold for fold in load(folder / PREDICTIONS)}
