"""Racing over people: is a trial worth its next fold?

After each fold the trial's log-likelihoods so far are paired, subject by subject, with those of the best trial
(Wilcoxon signed-rank test, as Optuna's WilcoxonPruner does it). A race may also have rungs: all folds are trained for a
share of the epochs first, compared with the best trial at the same epoch, and go on from there. The learning rate does
not depend on the number of epochs, so a rung is an exact prefix. What each race gives stands in docs/search.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wilcoxon

from mer_search.training.metrics import uf1

STARTUP_FOLDS = 3  # before that the test has no power


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
        p: it is stopped when a one-sided test that it is worse than the best trial falls below this; 0 never stops.
        rungs: shares of the epochs that all folds are trained for, one after the other; the last is 1.
        after_all: test only when all folds have reached a rung, not after each fold.
    """

    p: float = 0.0
    rungs: tuple[float, ...] = (1.0,)
    after_all: bool = False

    def loses(self, own: ArrayLike, best: ArrayLike) -> bool:
        """Whether a trial is worse than the best, given both log-likelihoods of the subjects that it has seen."""
        difference = np.asarray(own, np.float64) - np.asarray(best, np.float64)
        if not self.p or len(difference) < STARTUP_FOLDS or difference.mean() >= 0:
            return False
        return bool(wilcoxon(difference, alternative="less", zero_method="zsplit").pvalue < self.p)

    def run(self, order: Sequence[int], epochs: int, own: NDArray[Any], best: NDArray[Any] | None) -> Ran:
        """Replay a trial's race from its log-likelihoods (S, E) after every epoch and the best trial's (S, E')."""
        spent, before = 0, 0
        for share in self.rungs:
            until = max(1, round(share * epochs))
            for seen in range(1, len(order) + 1):
                spent += until - before
                done = seen == len(order)
                if best is None or (done and until == epochs) or (self.after_all and not done):
                    continue
                subjects = list(order[:seen])
                if self.loses(own[subjects, until - 1], best[subjects, min(until, best.shape[1]) - 1]):
                    return Ran(spent, False, subjects, until)
            before = until
        return Ran(spent, True, list(order), epochs)


RACES = {
    "wilcoxon": Race(0.1),
    "wilcoxon-.05": Race(0.05),
    "wilcoxon-.03": Race(0.03),
    "rungs": Race(0.1, (0.25, 0.5, 1.0), after_all=True),
    "both": Race(0.1, (0.25, 1.0)),
    "both-.05": Race(0.05, (0.25, 1.0)),
    "none": Race(),
}


def order(subjects: Sequence[str], seed: int, trial: int) -> list[str]:
    """The order in which a trial meets its subjects: shuffled, so that no subject always decides."""
    shuffled = np.random.default_rng([seed, trial]).permutation(len(subjects))
    return [subjects[place] for place in shuffled]


def estimate(
    seen: Mapping[Any, NDArray[Any]], same: Mapping[Any, NDArray[Any]], full: Mapping[Any, NDArray[Any]]
) -> float:
    """What a stopped trial's UF1 over all subjects may be, from confusion matrices (K, K).

    Args:
        seen: the trial's, of the subjects that it has seen.
        same: the best trial's, of the same subjects at the same epoch.
        full: the best trial's, of all subjects at its end.

    Its pooled UF1, minus the best trial's on the same subjects, plus the best trial's on all: corrected for the
    difficulty of the folds seen. It was stopped for being worse, so it stays below the best trial's.
    """
    own, there, best = (float(uf1(np.sum(list(matrices.values()), axis=0))) for matrices in (seen, same, full))
    return max(0.0, min(best - 1e-6, own - there + best))
