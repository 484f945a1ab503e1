"""Intervals and corrections, over subjects: clips of one person are not independent, people are.

Everything is computed from confusion matrices per subject. Shapes: M models (trials or seeds), S subjects, K classes,
R bootstrap repeats.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit
from scipy.stats import rankdata

from mer_search.evaluation.metrics import Floats, Interval, occurring, uf1

REPEATS = 2000
EXACT = 12  # subjects up to which every exchange is tried
RANDOM_SWAPS = 10_000


def uf1_interval(matrices: NDArray[Any]) -> Interval | None:
    """95 % interval, for new people like these, of the mean UF1 of M seeds' matrices (M, S, K, K); None where it cannot
    be estimated: of one subject, where all tell the same, at 0 and at 1.

    Student's t on the logit scale, with the jackknife's standard error over subjects: a fold's own seed is in it. The
    error is judged by few people, and a rare class by fewer still, so the degrees of freedom count those that matter
    (see `_reach`), not all. Of 1,000 simulated studies each of 10, 16 and 26 subjects as CASME II's, this covers
    the true UF1 of networks that are given in 93 to 96 %; the percentile bootstrap covers it in 79 to 92 %, BCa in 81
    to 91 % (of 500). Where each fold trains a network of its own it covers 86 to 90 %, for that variation is not in it.
    """
    each = float(uf1(matrices.sum(1)).mean())
    reach = _reach(_without_each(matrices), matrices)
    if reach == 0 or not 0 < each < 1:
        return None
    low, high = expit(logit(each) + np.array([-reach, reach]) / (each * (1 - each)))
    return float(low), float(high)


def paired_interval(first: NDArray[Any], second: NDArray[Any]) -> Interval | None:
    """95 % interval over subjects of UF1(first) - UF1(second), from (M, S, K, K) each, M paired seeds; None where it
    cannot be estimated: of one subject, or where all tell the same.

    As `uf1_interval`, on the scale of the difference: each subject is left out of both, so that what makes a subject
    hard for both does not count as a difference. benchmarks/simulation.py measures how often it covers the truth.
    """
    difference = float((uf1(first.sum(1)) - uf1(second.sum(1))).mean())
    reach = _reach(_without_each(first) - _without_each(second), np.concatenate([first, second]))
    return None if reach == 0 else (float(max(-1.0, difference - reach)), float(min(1.0, difference + reach)))


def _without_each(matrices: NDArray[Any]) -> Floats:
    """(S,) mean UF1 over (M, S, K, K)'s seeds, each subject left out in turn, over the whole sample's classes."""
    subjects = matrices.shape[1]
    return np.asarray(uf1(_pooled(1 - np.eye(subjects), matrices), occurring(matrices)).mean(1))


def _reach(without: Floats, matrices: NDArray[Any]) -> float:
    """Half the width of a 95 % interval, from (S,) estimates that leave each subject of (M, S, K, K) out: the
    jackknife's standard error times Student's t at 97.5 %.

    Its degrees of freedom are of as many equal subjects as would tell as much about UF1 as these, of unequal sizes:
    Kish's effective number. A subject weighs as its counts do in UF1's variance: those of class k by 1 / (all counts
    of k)^2.
    """
    error = float(np.sqrt((len(without) - 1) * without.var()))
    if error == 0:
        return 0.0
    counts = (matrices.sum(-1) + matrices.sum(-2)).mean(0)[:, occurring(matrices)]  # (S, K)
    weights = (counts / counts.sum(0) ** 2).sum(1)
    people = float(weights.sum() ** 2 / (weights**2).sum())
    return float(stdtrit(max(1.0, people - 1), 0.975)) * error


def _pooled(weights: NDArray[Any], matrices: NDArray[Any]) -> Floats:
    """Matrices (M, S, K, K) summed over subjects, each as often as weights (R, S) say: (R, M, K, K)."""
    return np.tensordot(weights.astype(float), matrices.astype(float), (1, 1))


def bbc(matrices: NDArray[Any], seed: int = 0) -> tuple[float, Interval]:
    """The best of M trials' UF1 without the winner's curse, and a 95 % interval: BBC-CV.

    Tsamardinos, Greasidou and Borboudakis, Machine Learning 107 (2018): bootstrap the selection over the stored
    out-of-sample predictions of all trials (M, S, K, K); in each repeat the best trial on the subjects drawn is scored
    on the subjects not drawn. Resampling is by subject. A trial is chosen by the whole sample's classes, and scored by
    those of the subjects not drawn: a class that none of them has would count as 0 (on ten subjects and five classes
    that makes the score .02 to .03 lower still, and the interval cover the truth in 89 instead of 93 %).

    Over all trials it errs on the safe side, because a choice among the drawn two thirds is worse than the one made
    among all, and the third that scores it is few: of 400 simulated studies each of 10 and 26 subjects, the interval
    covers the true UF1 in 96 to 100 %, and the score is .01 to .04 too low. Of those trials alone that a pruner, by the
    same subjects, did not stop, it is between .02 too low and .02 too high (benchmarks/simulation.py).
    """
    subjects, classes = matrices.shape[1], occurring(matrices)
    inside = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), size=REPEATS)  # (R, S)
    outside = (inside == 0).astype(np.int64)
    usable = outside.any(1)
    chosen = uf1(_pooled(inside[usable], matrices), classes).argmax(1)
    picked = uf1(_pooled(outside[usable], matrices))[np.arange(len(chosen)), chosen]
    return float(picked.mean()), _middle(picked)


def _middle(repeats: Floats) -> Interval:
    """The middle 95 % of (R,) repeats."""
    low, high = np.percentile(repeats, [2.5, 97.5])
    return float(low), float(high)


def cross_fit(matrices: NDArray[Any]) -> NDArray[Any]:
    """(S, K, K) of M trials' matrices (M, S, K, K): of each half of the subjects those of the trial that is the best on
    the other half, so that no subject has a part in choosing the trial that it scores.

    The halves are every second subject: of subjects in the order of their difficulty, both are alike.
    """
    found: NDArray[Any] = np.empty_like(matrices[0])
    for half in (0, 1):
        best = uf1(matrices[:, 1 - half :: 2].sum(1), occurring(matrices)).argmax()
        found[half::2] = matrices[best, half::2]
    return found


def permutation_p(first: NDArray[Any], second: NDArray[Any], seed: int = 0) -> float:
    """Two-sided p of UF1(first) - UF1(second), from (M, S, K, K) each, if it did not matter which of them is which.

    The two are exchanged subject by subject: in all 2^S ways if there are at most 4096, else in 10,000 random ones.
    """
    subjects = first.shape[1]
    if subjects <= EXACT:
        swaps = (np.arange(2**subjects)[:, None] >> np.arange(subjects)) & 1  # (R, S), the first changes nothing
    else:
        swaps = np.random.default_rng(seed).integers(0, 2, (RANDOM_SWAPS, subjects))
        swaps[0] = 0
    gained = np.einsum("rs,mskl->rmkl", swaps, second - first)
    found = uf1(first.sum(1) + gained).mean(1) - uf1(second.sum(1) - gained).mean(1)
    return float((np.abs(found) >= abs(found[0]) - 1e-12).mean())


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for how many there are: Holm, Scandinavian Journal of Statistics 6 (1979)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return [float(stepped[place]) for place in np.argsort(order)]


def rank_correlation(first: Sequence[float], second: Sequence[float], seed: int = 0) -> tuple[float, Interval]:
    """Spearman's rank correlation of two scores of the same n >= 2 things, neither of which is the same everywhere, and
    its 95 % bootstrap interval over them. Resamples in which one is have no correlation and are left out."""
    places = np.random.default_rng(seed).integers(0, len(first), (REPEATS, len(first)))
    places = np.vstack([np.arange(len(first)), places])
    ranks = [rankdata(np.asarray(scores)[places], axis=1) for scores in (first, second)]  # (1 + R, n)
    one, other = (each - each.mean(1, keepdims=True) for each in ranks)
    norm = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    found = (one * other).sum(1)[norm > 0] / norm[norm > 0]
    return float(found[0]), _middle(found[1:])
