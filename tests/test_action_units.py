"""Action units as targets: what is known of whom, and that what nobody knows takes no part."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from mer_search.config import Units
from mer_search.evaluation.folds import Fold
from mer_search.evaluation.metrics import units_f1
from mer_search.model.losses import units_loss
from mer_search.training.dataset import units_table

CODES = [("4", "R10"), ("12",), ("L12",), ("?",), (), ("1", "?"), ("4", "17")]


def units(codes=CODES, train=6, **config):
    """The table of a fold that trains on the first clips and tests the others."""
    train, test, none = np.split(np.arange(len(codes)), [train, len(codes)])
    return units_table(codes, Fold("sub01", train, test, none), Units(**config))


def test_the_vocabulary_is_the_training_clips_alone():
    names, targets = units()
    assert names == ("1", "12", "4", "L12", "R10")  # not 17, which only the test subject shows
    expected = [[0, 0, 1, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0]]
    np.testing.assert_array_equal(targets[[0, 1, 2, 6]], expected)


def test_merged_sides_are_one_action_unit():
    names, targets = units(sides="merge")
    assert names == ("1", "10", "12", "4")
    np.testing.assert_array_equal(targets[[0, 1, 2]], [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 1, 0]])


@pytest.mark.parametrize("sides", ["keep", "merge"])
def test_a_question_mark_or_an_empty_cell_is_a_row_that_nobody_knows(sides):
    _, targets = units(sides=sides)
    assert np.isnan(targets).all(1).tolist() == [False, False, False, True, True, False, False]
    assert not np.isnan(targets[[0, 1, 2, 6]]).any()


def test_beside_a_question_mark_only_the_units_that_are_named_are_known():
    _, targets = units()
    np.testing.assert_array_equal(targets[5], [1, *[math.nan] * 4])


def test_a_question_mark_may_be_an_action_unit_and_the_test_subject_may_add_some_as_published():
    names, targets = units(unknown="unit", vocabulary="all")
    assert names == ("1", "12", "17", "4", "?", "L12", "R10")
    assert (
        np.isnan(targets).all(1).tolist() == [False] * 4 + [True] + [False] * 2
    )  # only of the empty cell nothing is known
    np.testing.assert_array_equal(targets[5], [1, 0, 0, 0, 1, 0, 0])


def test_without_anything_known_there_are_no_action_units():
    names, targets = units([("?",), (), ("12",)], 2)
    assert (names, targets.shape) == ((), (3, 0))


def test_the_loss_is_the_cross_entropy_of_the_known_clips():
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.from_numpy(units()[1])
    targets[5] = math.nan
    known = [0, 1, 2, 6]
    value = units_loss(logits, targets)
    torch.testing.assert_close(value, F.binary_cross_entropy_with_logits(logits[known], targets[known]))
    value.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.any(1).tolist() == [row in known for row in range(7)]


def test_where_nothing_is_known_loss_and_gradient_are_zero():
    logits = torch.randn(3, 4, requires_grad=True)
    value = units_loss(logits, torch.full((3, 4), math.nan))
    value.backward()
    assert value == 0
    assert torch.equal(logits.grad, torch.zeros(3, 4))


@st.composite
def _judged(draw):
    """Truth (n, A) with rows that nobody knows, and what was shown (n, A)."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(2, 5)))
    truth = draw(arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0])))
    truth[draw(arrays(bool, shape[0]))] = math.nan
    return truth, draw(arrays(bool, shape))


@settings(derandomize=True, deadline=None)
@given(_judged())
def test_f1_is_scikit_learns_over_the_units_that_occur_or_were_shown(judged):
    truth, shown = judged
    known = ~np.isnan(truth).any(1)
    there = np.flatnonzero((truth[known] == 1).any(0) | shown[known].any(0))
    assume(len(there))
    expected = f1_score(truth[known] == 1, shown[known], labels=there, average="macro", zero_division=0)
    assert units_f1(truth, shown) == pytest.approx(expected)


def test_f1_of_nothing_known_is_no_number():
    assert math.isnan(units_f1(np.full((2, 3), math.nan), np.ones((2, 3), bool)))
    assert math.isnan(units_f1(np.zeros((2, 0)), np.zeros((2, 0), bool)))
