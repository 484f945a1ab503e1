"""What is shown: figures are pictures, pages are whole, numbers are said as a person says them."""

import html
import io
import re
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from rich.console import Console
from small import BESIDE, PLAIN, SCORE, summary_with

from mer_search.confirmation.compare import Contestant, comparison
from mer_search.confirmation.summary import Summary
from mer_search.report import costs, document, terminal
from mer_search.report.document import Code, Document, Picture, Section, Sheet, Table, Text, Tile, to_html
from mer_search.report.networks import network_table
from mer_search.report.page import chosen, classes, estimates, result
from mer_search.report.page import comparison as comparison_page
from mer_search.report.summaries import comparison_lines, conclusion, gap, legend, summary_rows, top_table, verdicts
from mer_search.report.terminal import drawn, duration, operations
from mer_search.report.trials import values_text
from mer_search.training.loop import Epoch

SUMMARY = summary_with()
ALONE = {"tail": {"all": SCORE}, "best_test_epoch": {"all": SCORE}}  # rules, of all subjects together


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
    found = _comparison(FINE, POOR)
    leaking = found.networks[0].model_copy(update={"leaks": True})
    rows = network_table((leaking, *found.networks[1:])).cells
    assert [row[0] for row in rows] == ["trial 7 (LEAKS)", "the search's start"]


def _comparison(*right, tuning=(), start=None):
    """A network for each list of how many of 10 clips, half of either class, are right: for each of 8 subjects."""
    matrices = [np.array([[[[k // 2, 5 - k // 2], [5 - (k - k // 2), k - k // 2]] for k in each]]) for each in right]
    names = ["trial 7", "the search's start", "trial 8"]
    met = tuple(Contestant(name, "", each) for name, each in zip(names, matrices, strict=False))
    found = comparison(met, tuple(f"s{k}" for k in range(8)), (1000,), tuning, "ab", "CASME II", False)
    return found.model_copy(update={"start": start})


FINE, POOR, MIXED, NEARLY = [9] * 8, [5] * 8, [9, 8, 10, 9, 8, 9, 10, 9], [8, 8, 10, 9, 8, 9, 10, 8]


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
        comparison_lines(_comparison(found, start, tuning=[f"s{k}" for k in range(tuning)], start="the search's start"))
        for tuning in (0, 6, 5)
    )
    assert len(none) == len(six) == 1 and words in none[0]  # of two others nothing is said
    assert three[1].startswith("On the 3 subjects that the search never scored: ")
    second = verdicts(summary_with(comparison=_comparison(found, start, start="the search's start")))[1]
    assert (second.tone, second.lead) == (tone, f"Better than the search's start? {verdict}")


def test_one_that_leaks_is_not_set_beside_one_that_does_not():
    found = _comparison(FINE, POOR, start="the search's start")
    leaking = found.networks[0].model_copy(update={"leaks": True})
    verdict = verdicts(summary_with(comparison=found.model_copy(update={"networks": (leaking, found.networks[1])})))[1]
    assert (verdict.tone, verdict.lead) == ("unsure", "Better than the search's start? Cannot be told.")
    assert "Only trial 7 LEAKS" in verdict.text
    assert (
        "Only trial 7 LEAKS"
        in comparison_lines(_comparison(FINE, POOR).model_copy(update={"networks": (leaking, found.networks[1])}))[1]
    )


def test_what_those_show_who_chose_a_trial_is_not_shown_clearly():
    """On six others a difference can be shown, on three it cannot."""
    for n_tuning, answer in ((2, "Yes."), (5, "Not clearly."), (8, "Not clearly.")):
        tuning = [f"s{k}" for k in range(n_tuning)]
        found = _comparison(FINE, POOR, tuning=tuning, start="the search's start")
        verdict = verdicts(summary_with(comparison=found))[1]
        assert verdict.lead.endswith(f"start? {answer}")
        assert (f"it was chosen by the scores of {n_tuning} of these 8 subjects: UF1" in verdict.text) == (n_tuning > 2)
        line = f"Scores of {n_tuning} of these 8 subjects had a part in choosing"
        assert comparison_lines(_comparison(FINE, POOR, tuning=tuning))[-1].startswith(line)


@pytest.mark.parametrize(("n_tuning", "answer"), [(2, "Yes."), (5, "Not clearly."), (8, "Not clearly.")])
def test_what_an_earlier_version_kept_does_not_say_who_chose_but_who_did_not(n_tuning, answer):
    found = _comparison(FINE, POOR, tuning=[f"s{k}" for k in range(n_tuning)], start="the search's start")
    tree = summary_with(comparison=found, n_tuning=n_tuning, n_subjects=8).model_dump()
    del tree["comparison"]["tuning"]
    earlier = Summary.model_validate(tree)
    assert earlier.comparison == found and verdicts(earlier)[1].lead.endswith(f"start? {answer}")


def test_a_search_whose_best_is_its_start_found_nothing():
    assert "NOTHING" in comparison_lines(_comparison(FINE, start="trial 7"), 1)[0]


def test_choosing_among_confirmed_trials_comes_with_a_warning():
    lines = comparison_lines(_comparison(POOR, MIXED, FINE, start="the search's start"), 3)
    assert lines[0].startswith("trial 8 is better than trial 7: UF1 0.899 and 0.495")
    assert "Choosing the best of 3" in lines[1]
    assert len(lines) == 3


def _page(summary):
    return to_html(
        Document(summary.title, result(summary), [Section("", estimates(summary)), Section("", classes(summary))])
    )


def test_the_page_says_synthetic_and_escapes_what_it_is_given():
    text = _page(SUMMARY)
    assert "These clips are synthetic" in text
    assert "<7>" not in text
    assert "trial &lt;7&gt; is better than the better baseline" in text
    assert "These clips are synthetic" not in _page(summary_with(synthetic=False))


def test_the_first_picture_has_the_network_the_start_the_baselines_and_apart_from_them_the_leaking_rule():
    """With the figures of the summary."""
    leaking = SCORE | {"uf1": 0.68, "ci95": (0.6, 0.75)}
    found = _comparison(FINE, MIXED, start="the search's start")
    summary = summary_with(rules=ALONE | {"best_test_epoch": {"all": leaking}}, comparison=found)
    (picture,) = (block for block in result(summary) if isinstance(block, Picture))
    texts = list(map(html.unescape, re.findall("<text.*?>(.*?)</text>", picture.drawings[0]("svg").decode())))
    start = found.networks[1]
    rows = [
        ("this network, tail", 0.6, (0.5, 0.7)),
        ("the search's start", start.uf1, start.ci95),
        ("baseline: logistic reg.", 0.5, (0.5, 0.7)),
        ("baseline: RBF SVM", 0.55, (0.5, 0.7)),
        ("best test epoch (LEAKS)", 0.68, (0.6, 0.75)),
    ]
    for label, uf1, ends in rows:
        place = texts.index(label)
        assert texts[place + 1] == "{:.3f} [{:.3f}-{:.3f}]".format(uf1, *ends)


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


def test_classes_are_told_one_by_one_and_together_as_the_summary_has_them():
    picture, by_class, together = classes(SUMMARY)
    assert "mean over seeds, under the tail rule" in picture.caption
    assert by_class.cells == [
        ("a", "130", "0.700", "0.923"),
        ("b", "116", "0.500", "0.569"),
        ("mean", "246", "0.600", "0.610"),
    ]
    assert "accuracy is 0.620" in by_class.caption
    assert ("tail, leak-free", "other, easier", "0.600", "0.610", "0.620") in together.cells
    assert ("baseline: RBF SVM", "all", "0.550", "0.610", "0.620") in together.cells


def test_a_database_of_a_composite_has_its_uf1():
    scores = {name: SCORE | {"uf1": uf1} for name, uf1 in (("all", 0.6), ("casme2", 0.7), ("samm", 0.4))}
    parts = {"databases": {"casme2": ("s1",), "samm": ("s2",)}, "baselines": {"rbf_svm": dict.fromkeys(scores, PLAIN)}}
    rows = classes(summary_with(rules=dict.fromkeys(ALONE, scores), uf1_bbc=None, **parts))[2].cells
    assert ("casme2", "0.700") in [row[1:3] for row in rows] and ("samm", "0.400") in [row[1:3] for row in rows]


def test_of_several_confirmed_trials_all_are_named_with_their_uf1():
    best = summary_with(title="trial 1", rules=ALONE | {"tail": {"all": SCORE | {"uf1": 0.7}}})
    other = summary_with(title="trial 0")
    assert chosen([best], best) == []
    ((text, table),) = (section.blocks for section in chosen([best, other], best))
    assert "This page is of trial 1, UF1 0.700. Confirmed are trial 1 0.700, trial 0 0.600." in text.text
    assert [row[:2] for row in table.cells[:2]] == [("trial 1", "0.700"), ("trial 0", "0.600")]


def test_a_small_p_is_the_same_in_a_table_and_in_its_sentence():
    found = _comparison(FINE, POOR)
    pairs = [pair.model_copy(update={"p": 0.0004, "p_holm": 0.0004}) for pair in found.pairs]
    table = comparison_page(found.model_copy(update={"pairs": tuple(pairs)}))[2]
    assert table.rows[0][-2:] == ("< 0.001", "< 0.001")


def test_the_published_mark_stands_only_on_the_clips_it_was_published_for():
    real = summary_with(synthetic=False, dataset="CASME II, 5 classes", n_subjects=26)
    assert "0.8676" not in _page(real.model_copy(update={"n_subjects": 8}))
    assert "macro F1 of 0.8676" in _page(real)
    assert "Under the same rule this network has 0.6000" in _page(real)
    assert "0.8676" not in _page(summary_with(synthetic=False, dataset="CASME II, 3 classes"))
    assert "0.8676" not in _page(SUMMARY)


def _drawing(kind):
    return b"<svg/>" if kind == "svg" else kind.encode()


TILES = [Tile("a|b", "two <pictures>", [("onset", b"png"), ("apex", b"gnp")]), Tile("c", "none", [])]
DOCUMENT = Document(
    "A <title>",
    [Text("Mind `this`", "bad", "First.")],
    [
        Section("Numbers", [Table(("name", "UF1"), [("a|b", "0.5"), ("c", "")], "What it is.", strong=0)]),
        Section("Pictures", [Picture("one", "What is shown", [_drawing]), Code("x < 1", "LaTeX")]),
        Section("Clips", [Sheet("clips", "Of clips", TILES)]),
    ],
)


def test_a_page_is_one_file_and_reads_the_same_as_markdown(tmp_path):
    page = document.write_document(DOCUMENT, tmp_path / "report.html").read_text()
    for part in (
        "<title>A &lt;title&gt;</title>",
        "<p class=bad><b>First.</b> Mind <code>this</code></p>",
        "<tr class=strong><td>a|b</td><td class=number>0.5</td></tr>",
        '<div role="img" aria-label="What is shown"><svg/></div>',
        '<b>LaTeX</b> <button type="button">Copy</button>',
        "<pre>x &lt; 1</pre>",
        "<b>a|b</b> two &lt;pictures&gt;",
        'alt="a|b: onset" src="data:image/png;base64,cG5n">onset</span>',
        "<figcaption>Of clips</figcaption>",
        '<b>c</b> none</p><div class="strip"></div>',
    ):
        assert part in page
    assert "http" not in page
    assert (tmp_path / "report.md").read_text() == (
        "# A <title>\n\n> **First.** Mind `this`\n\n## Numbers\n\n"
        "| name | UF1 |\n| --- | ---: |\n| **a\\|b** | **0.5** |\n"
        "| c |  |\n\nWhat it is.\n\n## Pictures\n\n![What is shown](report/one.png)\n\nLaTeX\n\n```\nx < 1\n```\n"
        "\n## Clips\n\n**a|b** two <pictures>\n\n| onset | apex |\n| --- | ---: |\n"
        "| ![onset](report/clips-1-1.png) | ![apex](report/clips-1-2.png) |\n\n**c** none\n\nOf clips\n"
    )
    files = {"one.png": b"png", "one.pdf": b"pdf", "clips-1-1.png": b"png", "clips-1-2.png": b"gnp"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()} == files


def test_times_and_operations_are_said_as_a_person_says_them():
    assert [duration(each) for each in (45, 192, 5400, 1171 * 3600)] == ["45 s", "3.2 min", "1.5 h", "48.8 days"]
    flop = [operations(each) for each in (8.7e12, 39e15, 5e5, 0)]  # 0: all folds are on disk
    assert flop == ["8.7 TFLOP", "39 PFLOP", "0.5 MFLOP", "0 MFLOP"]


@pytest.mark.parametrize(("seconds", "lines"), [(0.001, 0), (0.2, 10)])
def test_progress_without_a_terminal_is_a_line_at_a_tenth_and_none_of_what_is_quick(
    seconds, lines, capsys, monkeypatch
):
    clock = count(step=seconds)
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.bars() as progress:
        for done in range(1, 101):
            progress("clips", done, 100)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == lines and told[-1:] == ["clips: 100 of 100"][:lines]


def test_what_has_begun_is_told_unless_it_is_soon_done(capsys, monkeypatch):
    for silent, what in ((0.0, "slow"), (60.0, "quick")):
        monkeypatch.setattr(terminal, "SILENT", silent)
        with terminal.bars() as progress:
            progress(what, 0, 1)
            timer = progress.begun
            if not silent:
                timer.join()
            progress(what, 1, 1)
        assert timer.finished.wait(0) and progress.begun is timer
    assert capsys.readouterr().err.splitlines()[0] == "slow ..."


def test_values_are_named_without_their_part():
    assert values_text({"train.lr": 0.00081234, "input.channels": "nr"}) == "lr=0.000812 channels=nr"


def test_few_of_many_clips_that_are_left_out_are_listed_before_a_training(tiny_clips, capsys):
    costs.print_data(replace(tiny_clips(), problems=tuple(f"clip {k}" for k in range(12))))
    told = capsys.readouterr().err
    assert "clip 9" in told and "clip 10" not in told and "and 2 more; `mer-search data check` lists them" in told


def test_frames_in_the_size_of_flow_images_are_warned_of(tiny_clips, make_search, capsys):
    for loaded, warned in ((tiny_clips({"flow.size": 28}), True), (tiny_clips(), False), (make_search().loaded, False)):
        costs.print_data(loaded)
        assert ("flow.size 28, as in the study megc2019, is for" in capsys.readouterr().err) == warned


def test_epochs_that_begin_anew_in_cut_batches_say_so():
    first, again = (costs.epoch_line("V4", Epoch(0, "s1", 1, 0.1, 0.5, microbatches=cut)) for cut in (1, 2))
    assert again == f"{first}, batches cut into 2, to fit"
