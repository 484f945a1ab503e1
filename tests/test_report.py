"""What is shown: figures are pictures, pages are whole, numbers are said as a person says them."""

import cv2
import numpy as np
import pytest

from mer_search.report.figures import confusion_png, subjects_png
from mer_search.report.page import page
from mer_search.report.terminal import duration, operations, summary_rows, values_text, verdict

SCORE = {"uf1": 0.6, "uar": 0.61, "accuracy": 0.62, "sd": 0.02, "ci95": (0.5, 0.7), "seed_mean_uf1": 0.65}
SUMMARY = {
    "title": "trial <7>",
    "dataset": "CASME II, 5 classes (synthetic)",
    "synthetic": True,
    "protocol": "leave-one-subject-out",
    "epochs": 24,
    "seeds": [1000, 1001],
    "n_clips": 246,
    "n_subjects": 26,
    "rules": {name: {"all": SCORE, "unsearched": SCORE} for name in ("tail", "last", "best_test_epoch")},
    "baselines": {"logistic_regression": {"all": SCORE | {"uf1": 0.5}}, "rbf_svm": {"all": SCORE | {"uf1": 0.55}}},
    "uf1_bbc": {"uf1": 0.44, "ci95": (0.2, 0.6), "best_trial_uf1": 0.66, "trials": 5, "n_subjects": 10},
}


def _size(png: bytes) -> tuple[int, int]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.std() > 1
    return image.shape[:2]


def test_figures_are_pictures():
    assert min(_size(confusion_png(np.array([[3, 1], [0, 0]]), ["a", "b"], "title"))) > 200
    assert min(_size(subjects_png({"s1": 0.5, "s2": 1.0}, {"s1": 3, "s2": 4}, ["s1"]))) > 200


def test_the_leaking_rule_stands_under_its_own_name_after_the_headline():
    rows = summary_rows(SUMMARY)
    assert rows[0] == ("tail, leak-free", "all", "0.600", "0.020", "0.500 to 0.700", "0.650")
    assert [row[0] for row in rows if "LEAKS" in row[0]] == ["best test epoch (LEAKS)"] * 2
    assert ("search's best, corrected", "searched", "0.440", "", "0.200 to 0.600", "") in rows


def test_one_seed_has_no_deviation():
    alone = SUMMARY | {"rules": {"tail": {"all": SCORE | {"sd": None}}}}
    assert summary_rows(alone)[0][3] == ""


@pytest.mark.parametrize(("uf1", "words"), [(0.56, "is above the better baseline's"), (0.54, "does NOT beat")])
def test_the_verdict_says_it_when_a_baseline_is_better(uf1, words):
    summary = SUMMARY | {"rules": {"tail": {"all": SCORE | {"uf1": uf1}}}}
    assert words in verdict(summary)
    assert "RBF SVM" in verdict(summary)


def test_the_page_says_synthetic_and_escapes_what_it_is_given():
    text = page(SUMMARY, [("Confusion", b"png")])
    assert "These clips are synthetic" in text
    assert "<7>" not in text
    assert "data:image/png;base64,cG5n" in text
    assert "These clips are synthetic" not in page(SUMMARY | {"synthetic": False}, [])


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (192, "3.2 min"), (5400, "1.5 h")])
def test_a_time_is_said_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("flop", "text"), [(8.7e12, "8.7 TFLOP"), (39e15, "39 PFLOP"), (5e5, "0.5 MFLOP")])
def test_operations_are_said_with_a_unit(flop, text):
    assert operations(flop) == text


def test_values_are_named_without_their_part():
    assert values_text({"train.lr": 0.00081234, "input.channels": "nr"}) == "lr=0.000812 channels=nr"
