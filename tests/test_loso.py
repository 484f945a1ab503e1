"""Folds in a folder that a later call goes on from."""

import csv

import numpy as np
import pytest
from conftest import silent, write_casme2

from mer_search.config import with_values
from mer_search.search.workspace import load_data
from mer_search.training.loop import train_fold
from mer_search.training.loso import finish_folds, go_no_further
from mer_search.training.pool import Finished
from mer_search.training.predictions import load

BEFORE = ["seed", "subject", "epoch", "lr", "train_loss", "train_accuracy", "test_log_loss", "seconds"]


class _InProcess:
    """A pool without processes."""

    def train(self, clips, tasks, on_epoch, on_fold):
        for task in tasks:
            trained = train_fold(task.run, clips, task.subject, task.seed, on_epoch, task.until, task.kept)
            on_fold(finished := Finished(trained.predictions, trained.history))
            yield finished


@pytest.fixture
def finish(tmp_path, tiny):
    """A function (subjects) -> rows of history.csv once their folds of two stages are there."""
    write_casme2(tmp_path / "casme2", 3, 2)
    values = {"units.use": "thresholded", "units.epochs": 1, "train.epochs": 2}
    loaded = load_data(tmp_path / "casme2", with_values(tiny, values), silent)

    def run(*subjects, until=None, on_fold=lambda fold: None):
        wanted = [(0, subject) for subject in subjects]
        for fold in finish_folds(
            _InProcess(), loaded.tensors, loaded.run, wanted, tmp_path, lambda epoch: None, until=until
        ):
            on_fold(fold)
        with (tmp_path / "history.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return run


def test_the_history_holds_both_stages_of_folds_of_all_calls(finish):
    first = finish("sub01")
    both = finish("sub01", "sub02")
    assert both[:3] == first
    assert [(row["subject"], row["stage"], row["epoch"]) for row in both] == [
        (subject, stage, epoch)
        for subject in ("sub01", "sub02")
        for stage, epoch in (("1", "1"), ("2", "1"), ("2", "2"))
    ]
    assert [row["train_au_f1"] == "nan" for row in both] == [False, True, True] * 2
    assert [row["train_accuracy"] == "nan" for row in both] == [True, False, False] * 2


def test_a_history_from_before_there_were_stages_goes_on(finish, tmp_path):
    rows = [{name: row[name] for name in BEFORE} for row in finish("sub01") if row["stage"] == "2"]
    with (tmp_path / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, BEFORE)
        writer.writeheader()
        writer.writerows(rows)
    again = finish("sub01", "sub02")
    assert [{name: row[name] for name in BEFORE} for row in again[:2]] == rows
    assert [(row["train_au_f1"], row["stage"]) for row in again[:2]] == [("nan", "2")] * 2
    assert len(again) == 2 + 3


def test_folds_stop_on_their_way_and_go_on(finish, tmp_path):
    first, whole, again = [], [], []
    rows = finish("sub01", "sub02", until=1, on_fold=first.append)
    assert [fold.epochs for fold in first] == [1, 1]
    assert sorted(path.name for path in (tmp_path / "unfinished").iterdir()) == [
        "0-sub01.safetensors",
        "0-sub02.safetensors",
    ]
    after = finish("sub01", on_fold=whole.append)
    assert [path.stem for path in (tmp_path / "unfinished").iterdir()] == ["0-sub02"]
    assert whole[0].epochs == 2
    assert [(row["subject"], row["stage"], row["epoch"]) for row in after] == [
        ("sub01", "1", "1"),
        ("sub01", "2", "1"),
        ("sub01", "2", "2"),
        ("sub02", "1", "1"),
        ("sub02", "2", "1"),
    ]
    assert after[:2] == rows[:2] and after[3:] == rows[2:]
    finish("sub01", "sub02", until=1, on_fold=again.append)  # both are on disk, one beyond
    assert [fold.epochs for fold in again] == [1, 1]
    np.testing.assert_array_equal(again[0].probabilities, whole[0].probabilities[:1])
    go_no_further(tmp_path)
    assert not (tmp_path / "unfinished").exists()
    (other,) = (fold for fold in load(tmp_path / "predictions.npz") if fold.subject == "sub02")
    finish("sub02", on_fold=again.append)  # from its start, as its weights are gone
    np.testing.assert_array_equal(again[-1].probabilities[:1], other.probabilities)
