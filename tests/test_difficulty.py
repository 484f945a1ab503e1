import numpy as np
import pytest

from mer_search.confirmation.difficulty import MIN_NETWORKS, clip_errors, mistakes_csv, rank, study_line
from mer_search.evaluation.folds import select_subjects
from mer_search.evaluation.metrics import last, tail
from mer_search.evaluation.predictions import Predictions


def _fold(seed, clips, labels, *epochs):
    """A subject's fold: epochs of rows of probabilities."""
    chances = np.array(epochs, np.float16)
    return Predictions(seed, "s1", tuple(f"s1/{clip}" for clip in clips), np.array(labels), chances)


A, B, C = (0.8, 0.1, 0.1), (0.1, 0.7, 0.2), (0.2, 0.2, 0.6)  # rows that say class 0, 1, 2


def test_a_clip_is_always_wrong_if_every_network_says_something_else():
    folds = [[_fold(0, "xyz", [0, 0, 0], [B, A if network == 2 else B, A])] for network in range(3)]
    found = {row.clip: row for row in clip_errors(folds, last)}
    assert [clip for clip, row in found.items() if row.always_wrong] == ["s1/x"]
    assert (found["s1/x"].n_wrong, found["s1/y"].n_wrong, found["s1/z"].n_wrong) == (3, 2, 0)
    assert {row.n_networks for row in found.values()} == {3}


def test_few_networks_do_not_tell():
    folds = [[_fold(0, "x", [0], [B])] for network in range(MIN_NETWORKS - 1)]
    assert not clip_errors(folds, last)[0].always_wrong
    assert clip_errors([*folds, [_fold(0, "x", [0], [B])]], last)[0].always_wrong


def test_the_seeds_of_a_network_are_one_network_which_says_what_their_mean_says():
    seeds = [_fold(seed, "xy", [0, 0], [B, A if seed else B]) for seed in range(3)]
    rows = clip_errors([seeds, [_fold(0, "x", [0], [B])]], last)
    assert {row.clip: (row.n_wrong, row.n_networks) for row in rows} == {"s1/x": (2, 2), "s1/y": (0, 1)}
    assert [row.prob for row in rows] == pytest.approx([0.1, (0.1 + 2 * 0.8) / 3], abs=1e-3)


def test_networks_that_were_tested_on_other_clips_do_not_count():
    folds = [[_fold(0, "xy", [0, 1], [B, B])], [_fold(0, "y", [1], [A])]]
    assert {row.clip: (row.n_wrong, row.n_networks) for row in clip_errors(folds, last)} == {
        "s1/x": (1, 1),
        "s1/y": (1, 2),
    }


def test_the_least_mean_chance_of_the_truth_stands_first():
    folds = [[_fold(0, "xy", [0, 0], [C, B])] for network in range(3)]
    rows = clip_errors(folds, last)
    assert [row.clip for row in rows] == ["s1/y", "s1/x"]
    assert [row.prob for row in rows] == pytest.approx([0.1, 0.2], abs=1e-3)


def test_the_most_frequent_guess_is_told_and_of_equals_the_likelier():
    often = [[_fold(0, "x", [0], [row])] for row in (B, C, C)]
    assert clip_errors(often, last)[0].guess == 2
    assert clip_errors(often[:2], last)[0].guess == 1


def test_the_rule_decides():
    fold = _fold(0, "x", [0], [A], [A], [A], [A], [A], [A], [A], [A], [(1.0, 0, 0)], [B])  # tail: the last two
    assert clip_errors([[fold]], tail)[0].n_wrong == 0
    assert clip_errors([[fold]], last)[0].n_wrong == 1


def test_the_file_has_every_clip_that_is_always_wrong():
    folds = [[_fold(0, "xyz", [0, 2, 1], [B, B, B])] for network in range(3)]
    assert mistakes_csv(clip_errors(folds, last), ["happy", "sad", "angry"]).splitlines() == [
        "clip,truth,guess,wrong,networks,truth_probability",
        "s1/x,happy,sad,3,3,0.1000",
        "s1/y,angry,sad,3,3,0.2000",
    ]


def _likely(subject, seed, *right):
    """Clips of the first of two classes, each with this probability of it."""
    chances = np.array([[[chance, 1 - chance] for chance in right]], np.float16)
    names = tuple(f"{subject}/{k}" for k in range(len(right)))
    return Predictions(seed, subject, names, np.zeros(len(right), np.int64), chances)


def test_subjects_are_ranked_by_their_share_of_the_loss_not_by_one_unlucky_clip():
    folds = [_likely("s1", 0, 0.125), _likely("s2", 0, 0.5, 0.25, 0.25, 0.25), _likely("s3", 0, 0.75, 0.75)]
    folds += [_likely("s1", 1, 0.5), _likely("s2", 1, 0.5, 0.25, 0.25, 0.25), _likely("s3", 1, 0.75, 0.75)]
    rows = rank(folds)
    assert [(row.subject, row.clips) for row in rows] == [("s2", 4), ("s1", 1), ("s3", 2)]
    assert rows[0].total == pytest.approx(7 * np.log(2))
    assert rows[1].log_loss == pytest.approx(2 * np.log(2))  # mean over seeds of 3 log 2 and log 2
    assert rows[1].log_loss > rows[0].log_loss
    assert [row.errors for row in rows] == pytest.approx([3 / 3.5, 0.5 / 3.5, 0.0])


def test_the_line_for_a_study_file_is_understood_by_one():
    names = [f"{k:03d}" for k in range(1, 13)]
    line = study_line(rank([_likely(name, 0, 1 - 0.05 * k) for k, name in enumerate(names, 1)]))
    assert line.startswith('subjects = "012, 011, ')
    assert select_subjects(line.split('"')[1], names, ()) == tuple(names[:1:-1])
