import numpy as np
import pytest

from mer_search.search import racing
from mer_search.training.metrics import uf1


def _matrix(right, wrong):
    return np.array([[right, wrong], [wrong, right]])


def test_the_order_is_a_permutation_that_depends_on_the_trial():
    subjects = [f"s{k}" for k in range(10)]
    orders = [racing.order(subjects, 0, trial) for trial in range(5)]
    assert all(sorted(order) == subjects for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert racing.order(subjects, 0, 3) == orders[3]


def test_an_estimate_is_corrected_for_the_difficulty_of_the_folds_seen():
    incumbent = {"easy": _matrix(9, 1), "hard": _matrix(5, 5)}
    full = float(uf1(incumbent["easy"] + incumbent["hard"]))
    on_the_easy = racing.estimate({"easy": _matrix(8, 2)}, incumbent)
    assert on_the_easy == pytest.approx(full - 0.1)  # .8 there, where the incumbent has .9
    assert racing.estimate({"hard": _matrix(4, 6)}, incumbent) == pytest.approx(full - 0.1)


def test_an_estimate_stays_between_zero_and_the_incumbent():
    incumbent = {"a": _matrix(5, 5), "b": _matrix(6, 4)}
    full = float(uf1(incumbent["a"] + incumbent["b"]))
    assert racing.estimate({"a": _matrix(9, 1)}, incumbent) < full
    assert racing.estimate({"b": _matrix(0, 10)}, incumbent) == 0
