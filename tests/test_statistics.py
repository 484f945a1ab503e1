import numpy as np
import pytest
from scipy.stats import spearmanr

from mer_search.search.statistics import bbc, rank_correlation, uf1_interval
from mer_search.training.metrics import confusion, uf1


def _trials(rng, skills, subjects=12, clips=8, classes=3):
    """(M, S, K, K): each trial guesses right with its own probability, else any class."""
    truth = rng.integers(classes, size=(subjects, clips))
    out = []
    for skill in skills:
        guess = np.where(rng.random(truth.shape) < skill, truth, rng.integers(classes, size=truth.shape))
        out.append([confusion(t, g, classes) for t, g in zip(truth, guess, strict=True)])
    return np.array(out)


def test_the_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    one = rng.normal(size=12)
    other = (one + rng.normal(size=12)).round(1)  # with ties
    found, (low, high) = rank_correlation(one, other)
    assert found == pytest.approx(spearmanr(one, other).statistic)
    assert low < found < high
    assert rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == (0.0, (-1.0, 1.0))


def test_an_interval_holds_the_pooled_score_and_shrinks_with_more_subjects():
    rng = np.random.default_rng(0)
    few, many = _trials(rng, [0.6, 0.6], subjects=8), _trials(rng, [0.6, 0.6], subjects=80)
    for matrices in (few, many):
        low, high = uf1_interval(matrices)
        assert low < uf1(matrices.sum(1)).mean() < high
    assert np.ptp(uf1_interval(many)) < 0.6 * np.ptp(uf1_interval(few))


def test_equal_subjects_leave_no_interval():
    matrices = np.tile(np.array([[3, 1], [1, 3]]), (2, 6, 1, 1))
    low, high = uf1_interval(matrices)
    assert low == high == uf1(matrices.sum(1)).mean()


def test_the_best_of_many_equals_is_too_good_and_bbc_corrects_it():
    rng, naive, corrected, truth = np.random.default_rng(1), [], [], []
    for _ in range(20):
        matrices = _trials(rng, [0.4] * 30)
        naive.append(uf1(matrices.sum(1)).max())
        corrected.append(bbc(matrices)[0])
        truth.append(uf1(matrices.sum((0, 1))))  # 30 equal trials together say what each is worth
    assert np.mean(naive) - np.mean(truth) > 0.05
    assert abs(np.mean(corrected) - np.mean(truth)) < 0.03
