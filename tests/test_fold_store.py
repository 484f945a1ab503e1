"""A run's folder: a file a fold, and its history beside it."""

import numpy as np
import pytest

from mer_search.errors import DataError
from mer_search.evaluation.predictions import Predictions
from mer_search.training.fold_store import fold_file, go_no_further, keep_fold, load_folds, read_history, state_file
from mer_search.training.loop import Epoch


def _fold(subject, seed=0, epochs=2):
    random = np.random.default_rng(seed)
    labels = np.array([0, 1])
    return Predictions(seed, subject, ("a/b", "a/c"), labels, random.dirichlet([1, 1], (epochs, 2)).astype(np.float16))


def _history(subject, seed=0, epochs=2):
    first = Epoch(seed, subject, 1, 0.1, 0.7, train_au_f1=0.5, stage=1)
    return [first, *(Epoch(seed, subject, epoch, 0.01, 0.5, 0.9, 0.3, seconds=1.5) for epoch in range(1, epochs + 1))]


def test_folds_and_histories_of_all_calls_are_there_in_order(tmp_path):
    for subject, seed in (("sub02", 1), ("sub10", 0), ("sub02", 0)):
        keep_fold(tmp_path, _fold(subject, seed), _history(subject, seed))
    assert list(load_folds(tmp_path)) == [(0, "sub02"), (0, "sub10"), (1, "sub02")]
    stored = load_folds(tmp_path)[1, "sub02"]
    np.testing.assert_array_equal(stored.probabilities, _fold("sub02", 1).probabilities)
    rows = read_history(tmp_path)
    assert [(row.seed, row.subject, row.stage, row.epoch) for row in rows[:4]] == [
        (0, "sub02", 1, 1), (0, "sub02", 2, 1), (0, "sub02", 2, 2), (0, "sub10", 1, 1),
    ]  # fmt: skip
    assert len(rows) == 9
    assert (rows[0].train_au_f1, rows[1].train_accuracy, rows[1].seconds) == (0.5, 0.9, 1.5)
    assert np.isnan([rows[0].train_accuracy, rows[1].train_au_f1]).all()


def test_a_fold_that_has_gone_on_takes_the_place_of_what_it_was(tmp_path):
    keep_fold(tmp_path, _fold("sub01", epochs=1), _history("sub01", epochs=1))
    keep_fold(tmp_path, _fold("sub01", epochs=2), _history("sub01", epochs=2))
    assert load_folds(tmp_path)[0, "sub01"].epochs == 2
    assert [row.epoch for row in read_history(tmp_path)] == [1, 1, 2]
    assert len(list((tmp_path / "folds").iterdir())) == 2


def test_what_only_folds_that_go_on_need_is_deleted(tmp_path):
    state = state_file(tmp_path, 0, "sub01")
    state.parent.mkdir()
    state.write_bytes(b"")
    go_no_further(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_damaged_renamed_or_an_earlier_versions_is_told(tmp_path):
    keep_fold(tmp_path, _fold("sub01"), _history("sub01"))
    path = fold_file(tmp_path, 0, "sub01")
    path.rename(path.with_name("0-sub02.npz"))
    with pytest.raises(DataError, match=r"0-sub02.npz must hold a fold's .*it holds the fold of sub01 with seed 0"):
        load_folds(tmp_path)
    path.with_suffix(".csv").write_text("seed,subject\n0,sub01\n")
    with pytest.raises(DataError, match=r"0-sub01.csv must be a table of epochs.*which trains its fold anew"):
        read_history(tmp_path)
    (tmp_path / "predictions.npz").touch()
    with pytest.raises(DataError, match=r"has one predictions.npz as mer-search 0.1 wrote it"):
        load_folds(tmp_path)
