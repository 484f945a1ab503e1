"""What a confirmation found, in tables and sentences: whose figures leak, what beats what, and who was asked."""

import io

import pytest
from rich.console import Console
from small import ALONE, BESIDE, FINE, MIXED, NEARLY, POOR, SCORE, compared, summary_with

from mer_search.confirmation.summary import Summary
from mer_search.report.networks import network_table
from mer_search.report.page import classes
from mer_search.report.summaries import comparison_lines, conclusion, gap, legend, summary_rows, top_table, verdicts
from mer_search.report.terminal import drawn

SUMMARY = summary_with()


def test_the_leaking_rule_stands_under_its_own_name_after_the_headline():
    rows = summary_rows(SUMMARY)
    assert rows[0] == ("tail, no epoch selected", "26 all", "0.600", "0.020", "0.500-0.700", "0.550")
    assert rows[2] == ("tail, seeds averaged", "26 all", "0.650", "", "0.550-0.750", "0.550")
    assert [row[0] for row in rows if "LEAKS" in row[0]] == ["best test epoch (LEAKS)"] * 2
    assert ("corrected best trial", "10 tuning", "0.440", "", "0.200-0.600", "0.450") in rows
    assert ("cross-fitted best trial", "10 tuning", "0.430", "", "not estimable", "0.450") in rows


def test_leak_free_is_said_of_nothing_on_which_a_choice_was_made():
    rows = {row[:2] for row in summary_rows(SUMMARY)}
    assert {name for name, subjects in rows if "leak-free" in name} == {"tail, leak-free", "last epoch, leak-free"}
    assert {subjects for name, subjects in rows if "leak-free" in name} == {"16 other, easier"}
    preset = summary_with(rules=ALONE, n_tuning=0, tuning_subjects="", uf1_bbc=None)
    assert ("tail, leak-free", "26 all") in {row[:2] for row in summary_rows(preset)}
    leaking = SUMMARY.uf1_bbc.model_dump() | {"rule": "best_test_epoch"}
    assert "corrected best trial (LEAKS)" in {row[0] for row in summary_rows(summary_with(uf1_bbc=leaking))}


def test_some_subjects_are_called_what_they_are_to_the_search():
    """And the corrected estimate, of all tuning subjects, has no baseline of some of them beside it."""
    told = {n_tuning: summary_with(rules=ALONE, n_subjects=4, n_tuning=n_tuning) for n_tuning in (0, 1, 4)}
    rows = {n_tuning: summary_rows(summary) for n_tuning, summary in told.items()}
    assert [rows[n_tuning][0][:2] for n_tuning in (0, 1, 4)] == [
        ("tail, leak-free", "4 other, easier"),
        ("tail, no epoch selected", "4 all"),
        ("tail, no epoch selected", "4 tuning"),
    ]
    assert "scores of these subjects" in legend(told[4]) and "some of these" in legend(told[1])
    assert {row[-1] for row in rows[1] if "best trial" in row[0]} == {""}


@pytest.mark.parametrize(("tuning", "others"), [("hardest", "16 other, easier"), ("stratified", "16 other")])
def test_the_other_subjects_are_called_easier_where_the_search_took_the_hardest(tuning, others):
    """And the better baseline on the same subjects stands in their row."""
    summary = summary_with(tuning_subjects=tuning)
    row = next(row for row in summary_rows(summary) if "other" in row[1])
    assert (row[1], row[-1]) == (others, "0.600") and ("EASIER" in legend(summary)) == (tuning == "hardest")


def test_that_tail_and_last_epoch_are_the_same_is_said_where_they_are():
    assert "tail is the last epoch here" in legend(summary_with(epochs=7))
    assert "tail is the last epoch here" not in legend(summary_with(epochs=8))


def test_one_seed_has_no_deviation():
    alone = summary_with(rules={"tail": {"all": SCORE | {"sd": None}}}, seeds=(1000,))
    assert summary_rows(alone)[0][3] == ""
    assert "averaged" not in str(summary_rows(alone)) + conclusion(alone)


def test_a_network_that_calls_every_clip_the_same_is_told_so():
    one = summary_with(rules={"tail": {"all": SCORE | {"confusion": ((260, 0), (232, 0))}}})
    assert conclusion(one).endswith("It calls every clip a.")
    assert "every clip" not in conclusion(SUMMARY)


def test_a_class_that_does_not_count_is_named():
    absent = summary_with(rules=ALONE | {"tail": {"all": SCORE | {"classes_left_out": (1,)}}})
    assert "Not counted, for no clip is of it: b." in legend(absent)
    assert "Not counted" not in legend(SUMMARY)
    assert "Not counted, for no clip is of it: b." in top_table([absent]).caption
    assert classes(absent)[1].cells[1][2:] == ("", "") != classes(absent)[1].cells[0][2:]
    some = {"all": SCORE, "other": SCORE | {"classes_left_out": (1,)}, "tuning": SCORE | {"classes_left_out": (0,)}}
    searched = summary_with(rules=ALONE | {"tail": some})
    assert "no clip is of it: b (among other)." in legend(searched)  # corrected figures are of all tuning subjects
    lacking = searched.model_copy(update={"uf1_bbc": searched.uf1_bbc.model_copy(update={"classes_left_out": (1,)})})
    assert "no clip is of it: b (among other, tuning)." in legend(lacking)


def test_a_correction_of_few_people_and_a_choice_that_is_not_taken_back_are_told():
    found = SUMMARY.uf1_bbc
    assert "may err" not in legend(SUMMARY) and "nothing back" not in legend(SUMMARY)
    few = found.model_copy(update={"n_subjects": 9, "best_trial_uf1": found.cross_fitted.uf1})
    told = legend(SUMMARY.model_copy(update={"uf1_bbc": few}))
    assert "Of fewer than 10 subjects that correction may err" in told and "took nothing back here" in told


def test_what_the_leaking_rule_adds_is_said_in_points():
    leaking = summary_with(rules=ALONE | {"best_test_epoch": {"all": SCORE | {"uf1": 0.68}}})
    assert "would add +8.0 points (UF1 0.600 -> 0.680)" in gap(leaking)
    worse = summary_with(rules=ALONE | {"best_test_epoch": {"all": SCORE | {"uf1": 0.59}}})
    assert "would not have helped here (UF1 0.600 -> 0.590)" in gap(worse)


def test_confirmed_networks_stand_beside_their_baselines_and_the_leaking_rule():
    table = top_table([summary_with(title="trial 7"), summary_with(title="the search's start")])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(drawn(table))
    lines = console.export_text().splitlines()
    assert [line.split()[0] for line in lines[4:8]] == ["trial", "the", "baseline:", "baseline:"]
    assert lines[4].split()[2:] == ["0.600", "0.020", "0.500-0.700", "0.600", "0.600"]
    assert max(map(len, lines)) <= 80


def test_networks_that_leak_are_called_so_beside_others():
    table = top_table([SUMMARY.model_copy(update={"leaks": True}), SUMMARY])
    assert [row[0] for row in table.cells][:2] == ["trial <7> (LEAKS)", "trial <7>"]
    assert "no epoch selected" not in table.caption and "leak-free" not in table.caption
    found = compared(FINE, POOR)
    leaking = found.networks[0].model_copy(update={"leaks": True})
    rows = network_table((leaking, *found.networks[1:])).cells
    assert [row[0] for row in rows] == ["trial 7 (LEAKS)", "the search's start"]


@pytest.mark.parametrize(
    ("found", "start", "words", "tone", "verdict"),
    [
        (FINE, POOR, "trial 7 is better than the search's start: UF1 0.899 and 0.495", "good", "Yes."),
        (POOR, FINE, "trial 7 is WORSE than the search's start: UF1 0.495 and 0.899", "bad", "No, worse."),
        (MIXED, FINE, "trial 7 is NOT shown to be better than the search's start", "unsure", "Not shown."),
        (NEARLY, FINE, "trial 7 is NOT better than the search's start", "bad", "No."),
        (FINE, FINE, "trial 7 does NOT differ from the search's start", "bad", "No."),
    ],
)
def test_whether_a_search_found_something_better_than_its_start_is_said_plainly(found, start, words, tone, verdict):
    none, six, three = (
        comparison_lines(compared(found, start, tuning=[f"s{k}" for k in range(tuning)], start="the search's start"))
        for tuning in (0, 6, 5)
    )
    assert len(none) == len(six) == 1 and words in none[0]  # of two others nothing is said
    assert three[1].startswith("On the 3 subjects that the search never scored: ")
    second = verdicts(summary_with(comparison=compared(found, start, start="the search's start")))[1]
    assert (second.tone, second.lead) == (tone, f"Better than the search's start? {verdict}")


def test_one_that_leaks_is_not_set_beside_one_that_does_not():
    found = compared(FINE, POOR, start="the search's start")
    leaking = found.networks[0].model_copy(update={"leaks": True})
    verdict = verdicts(summary_with(comparison=found.model_copy(update={"networks": (leaking, found.networks[1])})))[1]
    assert (verdict.tone, verdict.lead) == ("unsure", "Better than the search's start? Cannot be told.")
    assert "Only trial 7 LEAKS" in verdict.text
    assert (
        "Only trial 7 LEAKS"
        in comparison_lines(compared(FINE, POOR).model_copy(update={"networks": (leaking, found.networks[1])}))[1]
    )


def test_what_those_show_who_chose_a_trial_is_not_shown_clearly():
    """On six others a difference can be shown, on three it cannot."""
    for n_tuning, answer in ((2, "Yes."), (5, "Not clearly."), (8, "Not clearly.")):
        tuning = [f"s{k}" for k in range(n_tuning)]
        found = compared(FINE, POOR, tuning=tuning, start="the search's start")
        verdict = verdicts(summary_with(comparison=found))[1]
        assert verdict.lead.endswith(f"start? {answer}")
        assert (f"it was chosen by the scores of {n_tuning} of these 8 subjects: UF1" in verdict.text) == (n_tuning > 2)
        line = f"Scores of {n_tuning} of these 8 subjects had a part in choosing"
        assert comparison_lines(compared(FINE, POOR, tuning=tuning))[-1].startswith(line)


@pytest.mark.parametrize(("n_tuning", "answer"), [(2, "Yes."), (5, "Not clearly."), (8, "Not clearly.")])
def test_what_an_earlier_version_kept_does_not_say_who_chose_but_who_did_not(n_tuning, answer):
    found = compared(FINE, POOR, tuning=[f"s{k}" for k in range(n_tuning)], start="the search's start")
    tree = summary_with(comparison=found, n_tuning=n_tuning, n_subjects=8).model_dump()
    del tree["comparison"]["tuning"]
    earlier = Summary.model_validate(tree)
    assert earlier.comparison == found and verdicts(earlier)[1].lead.endswith(f"start? {answer}")


def test_a_search_whose_best_is_its_start_found_nothing():
    assert "NOTHING" in comparison_lines(compared(FINE, start="trial 7"), 1)[0]


def test_choosing_among_confirmed_trials_comes_with_a_warning():
    lines = comparison_lines(compared(POOR, MIXED, FINE, start="the search's start"), 3)
    assert lines[0].startswith("trial 8 is better than trial 7: UF1 0.899 and 0.495")
    assert "Choosing the best of 3" in lines[1]
    assert len(lines) == 3


HIDDEN, BELOW, EQUAL = {"shown": False}, {"difference": -0.05}, {"difference": 0.0, "same": True, "shown": False}
BETTER, RIVAL = "trial <7> is better than the better baseline (RBF SVM)", "the better baseline (RBF SVM)"


@pytest.mark.parametrize(
    ("all", "other", "n_tuning", "tone", "answer", "words"),
    [
        ({}, {}, 10, "good", "Yes.", f"{BETTER}: UF1 0.600 and 0.550."),
        ({}, HIDDEN, 10, "unsure", "Not clearly.", f"{BETTER}, but it was chosen by the scores of 10 of these 26"),
        ({}, BELOW, 10, "unsure", "Not clearly.", BETTER),
        ({}, None, 26, "unsure", "Not clearly.", BETTER),
        ({}, None, 0, "good", "Yes.", BETTER),
        (HIDDEN, {}, 10, "unsure", "Not shown.", f"trial <7> is NOT shown to be better than {RIVAL}"),
        (BELOW, {}, 10, "bad", "No, worse.", f"trial <7> is WORSE than {RIVAL}"),
        (BELOW | HIDDEN, {}, 10, "bad", "No.", f"trial <7> is NOT better than {RIVAL}"),
        (EQUAL, {}, 10, "bad", "No.", f"trial <7> does NOT differ from {RIVAL}"),
    ],
)
def test_the_first_verdict_is_on_the_baselines_and_is_the_conclusion(all, other, n_tuning, tone, answer, words):
    pairs = {"all": BESIDE | all} | (
        {} if other is None else {"other": BESIDE | {"second": "logistic_regression"} | other}
    )
    summary = summary_with(against_baseline=pairs, n_tuning=n_tuning)
    verdict = verdicts(summary)[0]
    assert (verdict.tone, verdict.lead, verdict.text) == (tone, f"Beats the baselines? {answer}", conclusion(summary))
    assert verdict.text.startswith(words) and verdict.text.endswith(" Its 2 seeds averaged reach 0.650.")
    alone = "On the 16 subjects that the search never scored, beside the better baseline (logistic reg.): UF1 0.600 and"
    assert (alone in verdict.text) == (other is not None)
    assert "never scored: UF1 0.600 and 0.550." in conclusion(SUMMARY)  # of the same baseline
    start = summary_with(against_baseline={"all": BESIDE, "other": BESIDE | HIDDEN}, given=True)
    assert verdicts(start)[0].lead.endswith("Yes.")  # the search did not choose it
    assert verdicts(summary_with(leaks=True))[0].lead.endswith("Cannot be told.")
    assert verdicts(summary_with(against_baseline={}))[0].lead.endswith("Not asked.")


def test_without_a_start_to_compare_with_that_is_said_and_a_preset_has_none():
    assert verdicts(SUMMARY)[1].lead.endswith("Not asked.")
    for changes in ({"n_tuning": 0}, {"given": True}):
        found = verdicts(summary_with(**changes))
        assert [each.lead.split("?")[0] for each in found] == ["Beats the baselines", "Does the figure leak"]


@pytest.mark.parametrize(
    ("changes", "tone", "words"),
    [
        ({}, "unsure", "On the others, leak-free: UF1 0.600 [0.500-0.700]."),
        ({"n_tuning": 0}, "good", "would add +0.0 points"),
        ({"given": True}, "good", "The search did not choose this network. Picking"),
        ({"leaks": True}, "bad", "with the test person in sight"),
    ],
)
def test_the_last_verdict_is_on_what_leaks(changes, tone, words):
    verdict = verdicts(summary_with(**changes))[-1]
    assert verdict.tone == tone and words in verdict.text
