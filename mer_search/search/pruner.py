"""The pruner: is a trial worth its next fold?

After each fold the trial's scores so far are paired, subject by subject, with those of the incumbent, the best trial
that ran to its end before. A subject's score is a mean over clips of what the network gave to the truth: the log of its
probability (`likelihood`), or, with all classes weighing the same, the probability itself (`recall`: the UAR to expect
of guesses drawn from the probabilities), its rank among the classes (`rank`), or whether it is the largest (`hits`: the
UAR). A loss that flattens probabilities changes the first two and not the last two. The trial is stopped by a one-sided
Wilcoxon signed-rank test (as Optuna's WilcoxonPruner does it), or if it lies behind by more than so many standard
errors; how much two trials differ from subject to subject is known from the trials that ran to their end.

A pruner may have rungs, too: all folds are trained for a share of the epochs first, compared at the same epoch, and go
on from there. The schedule is that of the whole run, so a rung is an exact prefix of it. What each pruner gives stands
in docs/search.md. Shapes: S subjects, k of them seen, R rivals, E epochs, n clips, K classes.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mer_search.evaluation.metrics import Floats

STARTUP_FOLDS = 2  # before that no trial is stopped
MIN_OTHERS = 2  # trials beside the incumbent that must have run to their end before differences have a known variance
MAX_OTHERS = 30  # of these, the latest: so that a long study takes no longer
MIN_PROB = 1e-4  # probability that is not counted as less where its log is taken


class Measure(NamedTuple):
    """How a network is scored on one subject."""

    # of probabilities (..., n, K) and those given to the truth (..., n):
    score: Callable[[NDArray[Any], Floats], Floats]
    balanced: bool  # whether all classes weigh the same

    def class_weights(self, labels: NDArray[Any], n_classes: int) -> Floats:
        """(K,) what a clip of each class weighs, given all subjects' labels."""
        counts = np.bincount(labels, minlength=n_classes)
        return 1 / np.maximum(counts, 1) if self.balanced else np.ones(n_classes)

    def of(self, probabilities: NDArray[Any], labels: NDArray[Any], weights: Floats) -> Floats:
        """A subject's probabilities (..., n, K) and labels (n,) -> score (...), given class weights (K,)."""
        given = probabilities[..., np.arange(len(labels)), labels].astype(np.float64)
        return np.asarray(self.score(probabilities, given) @ weights[labels] / weights[labels].sum())


def _rank(probabilities: NDArray[Any], given: Floats) -> Floats:
    """The share of the other classes that are given less than the truth; of one that is given as much, a half."""
    less, equal = (np.sum(compare(probabilities, given[..., None]), -1) for compare in (np.less, np.equal))
    return np.asarray((less + (equal - 1) / 2) / (probabilities.shape[-1] - 1))


MEASURES = {
    "likelihood": Measure(lambda _, given: np.log(np.maximum(given, MIN_PROB)), balanced=False),
    "recall": Measure(lambda _, given: given, balanced=True),
    "rank": Measure(_rank, balanced=True),
    "hits": Measure(lambda probs, given: np.asarray(given >= probs.max(-1), np.float64), balanced=True),
}


def difference_variance(others: ArrayLike, best: ArrayLike, weights: Floats) -> float | None:
    """How much trials, whose scores are (R, S), differ from the best (S,), subject by subject, beyond their mean
    difference: the variance of a subject's difference times the subject's weight (S,). None where R is too small."""
    difference = np.asarray(others, np.float64) - np.asarray(best, np.float64)
    if len(difference) < MIN_OTHERS:
        return None
    rest = difference - (difference @ weights / weights.sum())[:, None]
    return float((rest**2 * weights).sum() / (len(difference) * (len(weights) - 1)))


class Need(NamedTuple):
    """The fold whose score a pruner needs next: the subject's number and how many epochs it is trained for."""

    subject: int
    epochs: int


class Outcome(NamedTuple):
    """How far a trial went."""

    subjects: list[int]  # seen at the last rung
    epochs: int  # of the last rung
    spent: int  # fold-epochs
    behind: float | None  # what it lies behind the incumbent, in the pruner's measure, if it was stopped

    @property
    def violation(self) -> float:
        """Of Optuna's constraint that a trial be not stopped: 0 of one that ran to its end, else above 0."""
        return 0.0 if self.behind is None else max(self.behind, 1e-6)


@dataclass(frozen=True)
class Pruner:
    """When a trial is stopped."""

    measure: str = "recall"  # how it is scored on a subject, in MEASURES
    p: float = 0.0  # stopped when a one-sided test that it is worse than the incumbent falls below this; 0: never
    errors: float = 0.0  # stopped when it lies behind the incumbent by more than so many standard errors; 0: never
    rungs: tuple[float, ...] = (1.0,)  # shares of the epochs that all folds are trained for, one after the other
    after_all: bool = False  # test only when all folds have reached a rung, not after each fold

    def is_inferior(self, own: ArrayLike, best: ArrayLike, weights: Floats, variance: float | None) -> bool:
        """Whether a trial is worse than the incumbent, given both's scores of the subjects that it has seen (k,), what
        these weigh (k,), and the `difference_variance`."""
        difference = np.asarray(own, np.float64) - np.asarray(best, np.float64)
        behind = float(-(difference @ weights))
        if len(difference) < STARTUP_FOLDS or behind <= 0:
            return False
        if self.errors:
            return variance is not None and behind > self.errors * (variance * float(weights.sum())) ** 0.5
        if not self.p:
            return False
        from scipy.stats import wilcoxon  # takes more than a second: not for every start

        return bool(wilcoxon(difference, alternative="less", zero_method="zsplit").pvalue < self.p)

    def milestones(self, epochs: int) -> list[int]:
        """After how many of a trial's epochs its folds are compared."""
        return list(dict.fromkeys(max(1, round(share * epochs)) for share in self.rungs))

    def plan(self, order: Sequence[int], epochs: int) -> list[Need]:
        """All folds that a trial may need, in the order in which it needs them."""
        return [Need(subject, until) for until in self.milestones(epochs) for subject in order]

    def run(
        self, order: Sequence[int], epochs: int, rivals: Callable[[int], Floats | None], weights: Floats
    ) -> Generator[Need, float, Outcome]:
        """A trial's pruner: it yields the fold whose score it needs next, is sent that score, and returns how far the
        trial went.

        Args:
            order: the subjects' numbers in the order in which the trial meets them.
            epochs: of the whole trial.
            rivals: scores (R, S) after so many epochs of the incumbent, and then of others that ran to their end; None
                while no trial has.
            weights: what each subject weighs (S,).
        """
        spent = before = 0
        for until in self.milestones(epochs):
            others, own = rivals(until), dict[int, float]()
            variance = None if others is None else difference_variance(others[1:], others[0], weights)
            for subject in order:
                own[subject] = yield Need(subject, until)
                spent += until - before
                is_last = len(own) == len(order)
                if others is None or (is_last and until == epochs) or (self.after_all and not is_last):
                    continue  # nothing to compare with, to save, or yet
                seen = list(own)
                mine, best, weigh = np.array(list(own.values())), others[0, seen], weights[seen]
                if self.is_inferior(mine, best, weigh, variance):
                    return Outcome(seen, until, spent, float(np.average(best - mine, weights=weigh)))
            before = until
        return Outcome(list(order), epochs, spent, None)


FINALS = Pruner(errors=1.64)  # among finalists, who have been scored on all subjects
PRUNERS = {
    "rank-rungs": Pruner("rank", errors=1.64, rungs=(0.25, 1.0)),  # the default: docs/search.md says why
    "recall-rungs": Pruner(errors=1.64, rungs=(0.25, 1.0)),
    "recall": Pruner(errors=1.64),
    "recall-2": Pruner(errors=2.0),
    "recall-1.28": Pruner(errors=1.28),
    "recall-wilcoxon": Pruner(p=0.05),
    "hits-rungs": Pruner("hits", errors=1.64, rungs=(0.25, 1.0)),
    "recall-rungs-all": Pruner(errors=1.28, rungs=(0.25, 0.5, 1.0), after_all=True),
    "wilcoxon": Pruner("likelihood", p=0.1),
    "wilcoxon-.05": Pruner("likelihood", p=0.05),
    "wilcoxon-rungs": Pruner("likelihood", p=0.05, rungs=(0.25, 1.0)),
    "wilcoxon-rungs-all": Pruner("likelihood", p=0.1, rungs=(0.25, 0.5, 1.0), after_all=True),
    "none": Pruner(),
}


def still_in(uf1: ArrayLike, scores: ArrayLike, weights: Floats) -> list[int]:
    """Which finalists, with UF1 (F,) and scores (F, S), means over their seeds, do not lie clearly behind the one with
    the highest UF1, given what the subjects weigh (S,)."""
    leader, each = int(np.argmax(uf1)), np.asarray(scores, np.float64)
    variance = difference_variance(np.delete(each, leader, axis=0), each[leader], weights)
    return [place for place, own in enumerate(each) if not FINALS.is_inferior(own, each[leader], weights, variance)]


def subject_order(n_subjects: int, seed: int, trial: int) -> list[int]:
    """The order in which a trial meets its subjects: shuffled, so that no subject always decides."""
    return [int(place) for place in np.random.default_rng([seed, trial]).permutation(n_subjects)]


def estimate(best: float, behind: float) -> float:
    """What a stopped trial's UF1 over all subjects may be: the incumbent's, less what the trial lies behind in the
    pruner's measure, which tells more of a network than few subjects' UF1 (docs/search.md)."""
    return max(0.0, best - behind)
