"""What is proposed for a paper says what was done."""

import pytest
from small import PLAIN, SCORE, summary_with

from mer_search.config import Run, with_values
from mer_search.presets import PRESETS, preset
from mer_search.report import methods
from mer_search.report.summaries import summary_rows

SUMMARY = summary_with(
    dataset="CASME II, 5 classes",
    seeds=(1000, 1001, 1002),
    rules={"tail": {"all": SCORE}, "best_test_epoch": {"all": SCORE | {"sd": None}}},
    baselines={"rbf_svm": {"all": PLAIN}},
)
STUDY = {
    "sampler": "tpe",
    "pruner": "recall-rungs",
    "trials": 100,
    "subjects": ["sub05", "sub16"],
    "finalists": 3,
    "is_best": True,
}
ENVIRONMENT = {"mer-search": "0.1", "torch": "2.13", "python": "3.11"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_published_network_has_its_paragraph(name):
    text = methods.paragraph(preset(name), SUMMARY, STUDY, ENVIRONMENT)
    assert "{" not in text and "  " not in text and ".." not in text
    assert "evaluated leave-one-subject-out" in text


def test_what_is_configured_is_what_is_said():
    values = {"train.epochs": 40, "train.loss": "focal", "prep.mask": "template", "prep.denoise": 4.0, "frames.maps": 2}
    values |= {"train.mirror": True, "train.class_weights": 0.5, "model.dropout": 0.3, "model.head_grid": 7}
    values |= {"model.blocks": 1, "model.depth": 2, "model.position": False}
    text = methods.paragraph(with_values(Run(), values), SUMMARY, STUDY, ENVIRONMENT)
    for words in (
        "246 clips of 26 subjects in 5 classes",
        "gave 2 maps a clip",
        "Frames were denoised (non-local means, h = 4), resized to 224 x 224 pixels, masked by a template first.",
        "trained for 40 epochs with AdamW",
        "the sigmoid focal loss, classes weighted by their clips to the power of -0.5",
        "A clip's probabilities are the mean over it and its mirror image.",
        "a stem of 180 and 256 channels, 1 stage of continuous-attention blocks of 256 channels, 2 each, without the",
        "a linear layer on the last map, pooled to 7 x 7 places and dropout of 0.3.",
        "we took the onset, the middle frame and the offset. Farneback optical flow between each of these and the next",
        "the figures of the other subjects had no part in it",
        "the mean and standard deviation over seeds, and a 95 % interval",
        "100 trials of tpe search on 2 subjects (sub05, sub16; trials pruned by recall-rungs); the best 3 were trained",
        "with 3 seeds that the search never used",
        "over the last 8 epochs",
    ):
        assert words in text


def test_a_paper_is_told_what_leaks():
    text = methods.paragraph(Run(), SUMMARY.model_copy(update={"leaks": True}), STUDY, ENVIRONMENT)
    assert "training itself looked at the test subject, so that all figures leak" in text and "no epoch is" not in text


def test_finals_are_said_to_have_chosen_the_trial_that_they_chose():
    text = methods.paragraph(Run(), SUMMARY, STUDY | {"is_best": False}, ENVIRONMENT)
    assert "trials pruned by recall-rungs), but not the one that the search put first; it cannot be excluded" in text
    assert "had no part in it" not in text and "further seeds" not in text


def test_no_other_subjects_and_no_deviation_are_claimed_where_there_are_none():
    alone = summary_with(n_tuning=26, n_subjects=26, seeds=(1000,))
    text = methods.paragraph(Run(), alone, STUDY, ENVIRONMENT)
    assert "other subjects" not in text and "deviation" not in text
    assert "these are all subjects, so the figures below are too good" in text


def test_classes_that_do_not_count_are_named():
    without = summary_with(rules={"tail": {"all": SCORE | {"classes_left_out": (1,)}}})
    text = methods.paragraph(Run(), without, STUDY, ENVIRONMENT)
    assert f"(MEGC 2019), without {without.classes[1]}, of which there is no clip; we give" in text


def test_the_latex_table_has_a_row_for_every_estimate():
    rows = [line for line in methods.latex(SUMMARY).splitlines() if "&" in line]
    assert rows[1] == r"tail, no epoch selected & all & 0.600 $\pm$ 0.020 & 0.500--0.700 & 0.610 & 0.620 \\"
    assert [row.partition(" & ")[0] for row in rows[1:]] == [row[0] for row in summary_rows(SUMMARY)]
    (leaking,) = [row for row in rows if "LEAKS" in row]
    assert r"\pm" not in leaking
    assert "tail, leak-free & other, easier & 0.600" in methods.latex(summary_with())
