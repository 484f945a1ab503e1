"""Racing over people: is a trial worth its next fold?

After each fold the trial's scores so far are paired, person by person, with those of the best trial. A person's score
is a mean over clips of what the network gave to the truth: its log (`likelihood`), or the chance itself with all
classes weighing the same (`recall`: the UAR to expect of guesses drawn from the probabilities). The trial is stopped by
a one-sided Wilcoxon signed-rank test (as Optuna's WilcoxonPruner does it), or if it lies behind by more than so many
standard errors; how much two trials differ from person to person is known from the trials that ran to their end.

A race may also have rungs: all folds are trained for a share of the epochs first, compared at the same epoch, and go on
from there. The learning rate does not depend on the number of epochs, so a rung is an exact prefix. What each race
gives stands in docs/search.md. Shapes: S people, k of them seen, E epochs, n clips, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mer_search.training.metrics import Floats

STARTUP_FOLDS = 2  # before that nobody is stopped
OTHERS = 2  # trials beside the best that must have run to their end before differences have a known spread
RECENT = 30  # of these, the latest: so that a long study takes no longer
LEAST = 1e-4  # chance that is not counted as less where its log is taken


class Measure(NamedTuple):
    """How a network is scored on one person."""

    score: Callable[[Floats], Floats]  # of the chances given to the truth
    balanced: bool  # whether all classes weigh the same

    def worth(self, labels: NDArray[Any], n_classes: int) -> Floats:
        """(K,) what a clip of each class weighs, given all people's labels."""
        counts = np.bincount(labels, minlength=n_classes)
        return 1 / np.maximum(counts, 1) if self.balanced else np.ones(n_classes)

    def of(self, chances: NDArray[Any], labels: NDArray[Any], worth: Floats) -> Floats:
        """A person's chances (..., n, K) and labels (n,) -> score (...)."""
        given = chances[..., np.arange(len(labels)), labels].astype(np.float64)
        return np.asarray(self.score(given) @ worth[labels] / worth[labels].sum())


MEASURES = {
    "likelihood": Measure(lambda given: np.log(np.maximum(given, LEAST)), balanced=False),
    "recall": Measure(lambda given: given, balanced=True),
}


def spread(others: Sequence[ArrayLike], best: ArrayLike, weights: Floats) -> float | None:
    """How much trials differ from the best, person by person, beyond their mean difference: the variance of a person's
    difference times the person's weight. None where too few trials ran to their end.

    Args:
        others: scores (S,) of trials that ran to their end.
        best: of the best trial (S,).
        weights: of the people (S,).
    """
    if len(others) < OTHERS:
        return None
    difference = np.asarray(others, np.float64) - np.asarray(best, np.float64)  # (trials, S)
    rest = difference - (difference @ weights / weights.sum())[:, None]
    return float((rest**2 * weights).sum() / (len(difference) * (len(weights) - 1)))


class Ran(NamedTuple):
    """How far a trial went in a replayed race."""

    spent: int  # fold-epochs
    ended: bool  # or it was stopped
    subjects: list[int]  # seen at the last rung
    epochs: int  # of the last rung


@dataclass(frozen=True)
class Race:
    """When a trial is stopped.

    Args:
        measure: how it is scored on a person, in MEASURES.
        p: it is stopped when a one-sided test that it is worse than the best trial falls below this; 0 never stops.
        errors: it is stopped when it lies behind the best trial by more than so many standard errors; 0 never stops.
        rungs: shares of the epochs that all folds are trained for, one after the other; the last is 1.
        after_all: test only when all folds have reached a rung, not after each fold.
    """

    measure: str = "recall"
    p: float = 0.0
    errors: float = 0.0
    rungs: tuple[float, ...] = (1.0,)
    after_all: bool = False

    @property
    def stops_some(self) -> bool:
        """Whether it ever stops a trial."""
        return bool(self.p or self.errors)

    def loses(self, own: ArrayLike, best: ArrayLike, weights: Floats, spread: float | None) -> bool:
        """Whether a trial is worse than the best.

        Args:
            own: its scores of the people that it has seen (k,).
            best: the best trial's of the same (k,).
            weights: what these people weigh (k,).
            spread: as `spread` gives it.
        """
        difference = np.asarray(own, np.float64) - np.asarray(best, np.float64)
        behind = float(-(difference @ weights))
        if len(difference) < STARTUP_FOLDS or behind <= 0:
            return False
        if self.errors:
            return spread is not None and behind > self.errors * (spread * float(weights.sum())) ** 0.5
        if not self.p:
            return False
        from scipy.stats import wilcoxon  # takes more than a second: not for every start

        return bool(wilcoxon(difference, alternative="less", zero_method="zsplit").pvalue < self.p)

    def stops(self, epochs: int) -> list[int]:
        """After how many of a trial's epochs its folds are compared."""
        return [max(1, round(share * epochs)) for share in self.rungs]

    def compares(self, everybody: bool, end: bool) -> bool:
        """Whether there is something to compare once a fold has reached a rung; at the end there is nothing to save.

        Args:
            everybody: whether it is the last of the folds.
            end: whether the rung is the last.
        """
        return not (everybody and end) if not self.after_all else everybody and not end

    def run(
        self,
        order: Sequence[int],
        epochs: int,
        own: Floats,
        best: Floats | None,
        others: Sequence[Floats],
        weights: Floats,
    ) -> Ran:
        """Replay a trial's race from scores after every epoch: its own (S, E), the best trial's and those of others
        that ran to their end, each (S, its own E)."""
        spent, before = 0, 0
        for until in self.stops(epochs):

            def reached(scores: Floats, until: int = until) -> Floats:
                return np.asarray(scores[:, min(until, scores.shape[1]) - 1])

            known = spread([reached(other) for other in others], reached(best), weights) if best is not None else None
            for seen in range(1, len(order) + 1):
                spent += until - before
                if best is None or not self.compares(seen == len(order), until == epochs):
                    continue
                subjects = list(order[:seen])
                if self.loses(reached(own)[subjects], reached(best)[subjects], weights[subjects], known):
                    return Ran(spent, False, subjects, until)
            before = until
        return Ran(spent, True, list(order), epochs)


RACES = {
    "recall-rungs": Race(errors=1.64, rungs=(0.25, 1.0)),  # the default: docs/search.md says why
    "recall": Race(errors=1.64),
    "recall-2": Race(errors=2.0),
    "recall-1.28": Race(errors=1.28),
    "recall-wilcoxon": Race(p=0.05),
    "recall-rungs-all": Race(errors=1.28, rungs=(0.25, 0.5, 1.0), after_all=True),
    "wilcoxon": Race("likelihood", p=0.1),
    "wilcoxon-.05": Race("likelihood", p=0.05),
    "wilcoxon-rungs": Race("likelihood", p=0.05, rungs=(0.25, 1.0)),
    "wilcoxon-rungs-all": Race("likelihood", p=0.1, rungs=(0.25, 0.5, 1.0), after_all=True),
    "none": Race(),
}


def order(subjects: Sequence[str], seed: int, trial: int) -> list[str]:
    """The order in which a trial meets its subjects: shuffled, so that no subject always decides."""
    shuffled = np.random.default_rng([seed, trial]).permutation(len(subjects))
    return [subjects[place] for place in shuffled]


def estimate(best: float, own: ArrayLike, ahead: ArrayLike, weights: Floats) -> float:
    """What a stopped trial's UF1 over all subjects may be: the best trial's, less what the trial lies behind.

    The race's measure, in which it lies behind, tells more of a network than the UF1 of few people (docs/search.md).

    Args:
        best: the best trial's UF1.
        own: the trial's scores of the people that it has seen (k,).
        ahead: the best trial's of the same, at the same epoch (k,).
        weights: what these people weigh (k,).
    """
    behind = np.average(np.asarray(ahead, np.float64) - np.asarray(own, np.float64), weights=weights)
    return max(0.0, best - float(behind))
