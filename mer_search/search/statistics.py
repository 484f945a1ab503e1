"""Intervals and corrections, over subjects: clips of one person are not independent, people are.

Everything is computed from confusion matrices per subject. Shapes: M models (trials or seeds), S subjects, K classes,
R bootstrap repeats.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_search.training.metrics import Floats, uf1

REPEATS = 2000


def _resamples(subjects: int, seed: int) -> NDArray[np.int64]:
    """(R, S) how often each subject is drawn, with replacement, in each repeat."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=REPEATS)


def uf1_interval(matrices: NDArray[Any], seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval over subjects of the mean UF1 of M seeds' matrices (M, S, K, K)."""
    weights = _resamples(matrices.shape[1], seed)
    pooled = np.einsum("rs,mskl->rmkl", weights, matrices)
    low, high = np.percentile(uf1(pooled).mean(1), [2.5, 97.5])
    return float(low), float(high)


def bbc(matrices: NDArray[Any], seed: int = 0) -> tuple[float, tuple[float, float]]:
    """The best of M trials' UF1 without the winner's curse, and a 95 % interval: BBC-CV.

    Tsamardinos, Greasidou and Borboudakis, Machine Learning 107 (2018): bootstrap the selection over the stored
    out-of-sample predictions of all trials (M, S, K, K); in each repeat the best trial on the subjects drawn is scored
    on the subjects not drawn. Resampling is by subject.
    """
    inside = _resamples(matrices.shape[1], seed)
    outside = (inside == 0).astype(np.int64)
    usable = outside.any(1)
    chosen = uf1(np.einsum("rs,mskl->rmkl", inside[usable], matrices)).argmax(1)
    scored: Floats = uf1(np.einsum("rs,mskl->rmkl", outside[usable], matrices))
    picked = scored[np.arange(len(chosen)), chosen]
    low, high = np.percentile(picked, [2.5, 97.5])
    return float(picked.mean()), (float(low), float(high))
