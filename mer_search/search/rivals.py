"""Whom a trial races with: the best one before it, and how much others differ from that from person to person.

Scores of persons are the trials' intermediate values in the storage; the step is the person's place in the study.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from mer_search.search import racing
from mer_search.search.storage import best_trial, ran_to_its_end
from mer_search.search.workspace import Loaded
from mer_search.training.metrics import Rule
from mer_search.training.predictions import Predictions


@dataclass(frozen=True)
class Rivals:
    """As a trial finds them when it starts. Shapes: S subjects of the study, K classes."""

    race: racing.Race
    worth: NDArray[np.float64]  # (K,) what a clip of each class weighs
    weights: NDArray[np.float64]  # (S,) what a subject weighs
    best: FrozenTrial | None
    spread: float | None

    def score(self, fold: Predictions, rule: Rule) -> float:
        """A trial's score of one person."""
        return float(racing.MEASURES[self.race.measure].of(rule(fold), fold.labels, self.worth))

    def beat(self, scores: Mapping[int, float]) -> bool:
        """Whether a trial with these scores so far loses the race."""
        if self.best is None:
            return False
        steps = list(scores)
        best = [self.best.intermediate_values[step] for step in steps]
        return self.race.loses(list(scores.values()), best, self.weights[steps], self.spread)


def find_rivals(study: optuna.Study, loaded: Loaded, subjects: Sequence[str], race: racing.Race) -> Rivals:
    """The rivals of the next trial of a study on these clips and subjects."""
    people = np.array(loaded.subjects)
    labels = loaded.labels[np.isin(people, subjects)]
    worth = racing.MEASURES[race.measure].worth(labels, len(loaded.run.data.classes))
    weights = np.array([worth[loaded.labels[people == subject]].sum() for subject in subjects])
    best, steps = best_trial(study), range(len(subjects))
    if best is None or not all(step in best.intermediate_values for step in steps):
        return Rivals(race, worth, weights, None, None)  # with two objectives there are none
    whole = [trial for trial in study.get_trials(deepcopy=False) if ran_to_its_end(trial)]
    others = [trial for trial in whole if trial.number != best.number][-racing.RECENT :]
    scores = [[trial.intermediate_values[step] for step in steps] for trial in others]
    ahead = [best.intermediate_values[step] for step in steps]
    return Rivals(race, worth, weights, best, racing.spread(scores, ahead, weights))
