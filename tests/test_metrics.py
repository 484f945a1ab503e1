from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mer_search.errors import UsageError
from mer_search.evaluation import metrics
from mer_search.evaluation.predictions import Predictions

pairs = st.integers(2, 6).flatmap(
    lambda k: st.tuples(
        st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=40)
    )
)


def _fold(labels, predicted, n_classes=3, subject="s01", chance=0.75, val=None):
    """A subject whose clips are given `predicted` (E, n) classes, each with that chance."""
    predicted = np.asarray(predicted)
    probabilities = np.full((*predicted.shape, n_classes), (1 - chance) / (n_classes - 1), np.float16)
    np.put_along_axis(probabilities, predicted[..., None], chance, axis=-1)
    names = tuple(f"{subject}/{i}" for i in range(len(labels)))
    return Predictions(0, subject, names, np.asarray(labels, np.int64), probabilities, val)


@settings(derandomize=True, deadline=None)
@given(pairs)
def test_scores_are_sklearns_over_the_classes_that_have_clips(drawn):
    n_classes, clips = drawn
    truth, predicted = map(np.array, zip(*clips, strict=True))
    matrix = metrics.confusion(truth, predicted, n_classes)
    macro = {"average": "macro", "labels": np.unique(truth)}
    assert metrics.uf1(matrix) == pytest.approx(f1_score(truth, predicted, zero_division=0, **macro))
    assert metrics.uar(matrix) == pytest.approx(recall_score(truth, predicted, **macro))
    assert metrics.accuracy(matrix) == pytest.approx(accuracy_score(truth, predicted))
    by_class = {"average": None, "labels": range(n_classes), "zero_division": 0}
    assert metrics.f1_by_class(matrix) == pytest.approx(f1_score(truth, predicted, **by_class))
    assert metrics.recall_by_class(matrix) == pytest.approx(recall_score(truth, predicted, **by_class))
    assert metrics.macro_f1(matrix) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert np.flatnonzero(metrics.occurring(matrix)).tolist() == np.unique(truth).tolist()


def test_a_confusion_matrix_has_the_truth_in_its_rows():
    np.testing.assert_array_equal(metrics.confusion([0, 0, 1], [0, 2, 2], 3), [[1, 0, 1], [0, 0, 1], [0, 0, 0]])


def test_many_matrices_are_scored_as_one_by_one():
    matrices = np.random.default_rng(0).integers(0, 4, (2, 5, 3, 3))
    for score in (metrics.uf1, metrics.macro_f1, metrics.uar, metrics.accuracy):
        expected = [[float(score(matrix)) for matrix in row] for row in matrices]
        np.testing.assert_allclose(score(matrices), expected)


def test_no_clips_score_nothing():
    none = np.zeros((3, 3), np.int64)
    assert metrics.uf1(none) == metrics.uar(none) == metrics.accuracy(none) == 0


def test_counts_are_pooled_before_the_ratio():
    perfect = [_fold([0, 0], [[0, 0]]), _fold([1], [[1]]), _fold([2, 1], [[2, 1]])]
    assert metrics.pooled_uf1(perfect, metrics.last) == 1
    uneven = [_fold([0, 0], [[0, 1]]), _fold([1, 1], [[1, 1]])]
    assert metrics.pooled_uf1(uneven, metrics.last) == pytest.approx((2 / 3 + 4 / 5) / 2)  # the folds' mean: 2/3


@pytest.mark.parametrize(("epochs", "count"), [(1, 1), (2, 1), (7, 1), (8, 2), (10, 2), (50, 10), (100, 20)])
def test_the_tail_is_the_last_fifth_of_the_epochs(epochs, count):
    chances = np.random.default_rng(epochs).dirichlet(np.ones(3), (epochs, 4)).astype(np.float16)
    fold = Predictions(0, "s01", tuple("abcd"), np.zeros(4, np.int64), chances)
    assert metrics.tail_epochs(epochs) == count
    np.testing.assert_allclose(metrics.tail(fold), chances[epochs - count :].astype(np.float64).mean(0))


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1]], 1),
        ([[0, 0, 0, 0], [2, 2, 0, 1]], 1),  # F1 0.43 and 0.5, accuracy 0.75 and 0.5
        ([[2, 2, 2, 1], [0, 0, 1, 0], [0, 0, 0, 2], [0, 0, 0, 2]], 2),  # F1 1/3, accuracy 0.25, 0.5, 0.75, 0.75
        ([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]], 0),
    ],
    ids=["best F1", "F1 before accuracy", "tie to the accuracy", "tie to the earlier"],
)
def test_the_published_rule_picks_the_best_f1_of_this_subject(epochs, best):
    fold = _fold([0, 0, 0, 1], epochs)
    assert metrics.best_epoch(*metrics.f1_by_epoch(fold)) == best
    np.testing.assert_array_equal(metrics.best_test_epoch(fold).argmax(-1), epochs[best])


def test_log_likelihood_is_the_mean_log_chance_of_the_truth():
    fold = _fold([0, 1], [[0, 2]], chance=0.75)
    assert metrics.mean_log(metrics.last(fold), fold.labels) == pytest.approx((np.log(0.75) + np.log(0.125)) / 2)
    sure = _fold([0, 1], [[0, 2]], chance=1.0)
    assert metrics.mean_log(metrics.last(sure), sure.labels) == pytest.approx((0 + np.log(1e-4)) / 2)


def test_only_the_published_rule_leaks():
    epochs, val = [[0, 1, 2], [2, 2, 0], [1, 1, 1]], np.array([-2.0, -1.5, -1.0])
    one, other = (_fold(labels, epochs, val=val) for labels in ([0, 1, 2], [2, 2, 0]))
    changed = {name for name, rule in metrics.RULES.items() if not np.array_equal(rule(one), rule(other))}
    assert changed == metrics.LEAKS


def test_epochs_with_equal_f1_and_accuracy_are_a_tie_whatever_the_rounding():
    labels, guesses = np.array([0, 1, 2, 1, 2, 0]), [[2, 1, 2, 2, 1, 0], [1, 1, 2, 0, 0, 0]]  # F1 47/90 both
    fold = Predictions(0, "s", tuple("abcdef"), labels, np.eye(3, dtype=np.float16)[guesses])
    assert metrics.best_epoch(*metrics.f1_by_epoch(fold)) == 0


@pytest.mark.parametrize(("val", "chosen"), [([-0.9, -0.7, -0.8], 1), ([-0.7, -0.9, -0.7], 0), ([-3.0, -2.0, -1.0], 2)])
def test_val_epoch_picks_the_epoch_that_fits_the_subjects_held_out_ties_to_the_earlier(val, chosen):
    fold = _fold([0, 1], [[0, 0], [1, 1], [2, 2]], val=np.array(val))
    np.testing.assert_array_equal(metrics.val_epoch(fold).argmax(-1), [chosen, chosen])


def test_val_epoch_is_there_only_where_subjects_were_held_out():
    without, with_them = (_fold([0], [[0], [1]], val=val) for val in (None, np.zeros(2)))
    assert set(metrics.available([with_them, with_them])) == {"tail", "last", "val_epoch", "best_test_epoch"}
    assert set(metrics.available([with_them, without])) == {"tail", "last", "best_test_epoch"}
    with pytest.raises(UsageError, match=r"needs subjects held out.*beside s01.*train\.val_subjects of 1 or more"):
        metrics.val_epoch(without)


def test_action_units_are_counted_over_folds_where_they_are_known():
    nan = np.nan
    one = Predictions(
        0, "s1", ("s1/a", "s1/b"), np.array([0, 0]), np.ones((1, 2, 1), np.float16), None, ("4", "12"),
        np.array([[1, 0], [1, nan]], np.float32), np.array([[0.9, 0.2], [0.1, 0.9]], np.float16),
    )  # fmt: skip
    other = replace(one, subject="s2", clips=("s2/a", "s2/b"), unit_names=("12", "17"))
    found = {name: counts.tolist() for name, counts in metrics.unit_counts([one, other]).items()}
    assert found == {"12": [2, 1, 1], "4": [2, 1, 1], "17": [0, 0, 0]}
    assert metrics.unit_counts([replace(one, unit_truth=None)]) == {}
