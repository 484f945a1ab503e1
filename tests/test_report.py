"""What is shown: figures are pictures, pages are whole, numbers are said as a person says them."""

import io
from itertools import count

import cv2
import numpy as np
import pytest
from rich.console import Console
from small import SCORE, summary_with

from mer_search.confirmation.compare import Contestant, comparison
from mer_search.report import document, figures, terminal
from mer_search.report.conclusions import comparison_lines, gap, top_table
from mer_search.report.confirmation import estimates
from mer_search.report.document import Code, Document, Picture, Section, Sheet, Table, Text, Tile, to_html
from mer_search.report.figures import Point
from mer_search.report.summaries import conclusion, legend, summary_rows
from mer_search.report.terminal import drawn, duration, operations
from mer_search.report.trials import values_text

SUMMARY = summary_with()


def _size(png: bytes) -> tuple[int, int]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.std() > 1
    return image.shape[:2]


def test_figures_are_pictures():
    assert min(_size(figures.confusion_png(np.array([[3, 1], [0, 0]]), ["a", "b"], "title"))) > 200
    assert min(_size(figures.subjects_png({"s1": 0.5, "s2": 1.0}, {"s1": 3, "s2": 4}, ["s1"]))) > 200
    random = np.random.default_rng(0)
    assert min(_size(figures.curves_png(random.random((2, 9)), random.random((2, 9)), 2))) > 200
    points = [Point(number, 0.1 * number, number == 2) for number in range(4)]
    assert min(_size(figures.history_png(points, [4, 5]))) > 200
    assert min(_size(figures.importances_png({"train.lr": 0.7, "train.loss": 0.3}))) > 100
    axes = {
        name: [(point, value) for point in points] for name, value in (("a", 0.1), ("b", "nr"), ("c", True), ("d", 3))
    }
    assert min(_size(figures.slices_png(axes, ["a"]))) > 200
    assert min(_size(figures.proxy_png([0.1, 0.2], [0.3, 0.2], [1, 7], True))) > 200


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
    alone = {"all": SCORE}
    preset = summary_with(rules={"tail": alone, "best_test_epoch": alone}, n_tuning=0, tuning_subjects="", uf1_bbc=None)
    assert ("tail, leak-free", "26 all") in {row[:2] for row in summary_rows(preset)}
    leaking = SUMMARY.uf1_bbc.model_dump() | {"rule": "best_test_epoch"}
    assert "corrected best trial (LEAKS)" in {row[0] for row in summary_rows(summary_with(uf1_bbc=leaking))}


def test_some_subjects_are_called_what_they_are_to_the_search():
    """And the corrected estimate, of all tuning subjects, has no baseline of some of them beside it."""
    alone = {"all": SCORE}
    told = {
        n_tuning: summary_with(rules={"tail": alone, "best_test_epoch": alone}, n_subjects=4, n_tuning=n_tuning)
        for n_tuning in (0, 1, 4)
    }
    rows = {n_tuning: summary_rows(summary) for n_tuning, summary in told.items()}
    assert [rows[n_tuning][0][:2] for n_tuning in (0, 1, 4)] == [
        ("tail, leak-free", "4 other, easier"),
        ("tail, no epoch selected", "4 all"),
        ("tail, no epoch selected", "4 tuning"),
    ]
    assert "scores of these subjects" in legend(told[4]) and "some of these" in legend(told[1])
    assert {row[-1] for row in rows[1] if "best trial" in row[0]} == {""}


def test_the_other_subjects_are_called_easier_where_the_search_took_the_hardest():
    """And the better baseline on the same subjects stands in their row."""
    row = next(row for row in summary_rows(SUMMARY) if "other" in row[1])
    assert (row[1], row[-1]) == ("16 other, easier", "0.600") and "EASIER" in legend(SUMMARY)
    fair = summary_with(tuning_subjects="stratified")
    assert "16 other" in {row[1] for row in summary_rows(fair)} and "EASIER" not in legend(fair)


def test_one_seed_has_no_deviation():
    alone = summary_with(rules={"tail": {"all": SCORE | {"sd": None}}}, seeds=(1000,))
    assert summary_rows(alone)[0][3] == ""
    assert "averaged" not in str(summary_rows(alone)) + conclusion(alone)


@pytest.mark.parametrize(("uf1", "words"), [(0.56, "is above the better baseline's"), (0.54, "does NOT beat")])
def test_the_conclusion_says_it_when_a_baseline_is_better(uf1, words):
    summary = summary_with(rules={"tail": {"all": SCORE | {"uf1": uf1}}})
    assert words in conclusion(summary)
    assert conclusion(summary).endswith("With its 2 seeds averaged: 0.650, above the baseline.")
    assert "RBF SVM" in conclusion(summary)


def test_what_the_leaking_rule_adds_is_said_in_points():
    leaking = summary_with(rules={"tail": {"all": SCORE}, "best_test_epoch": {"all": SCORE | {"uf1": 0.68}}})
    assert "would add +8.0 points (UF1 0.600 -> 0.680)" in gap(leaking)


def test_confirmed_networks_stand_beside_their_baselines_and_the_leaking_rule():
    table = top_table([summary_with(title="trial 7"), summary_with(title="the search's start")])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(drawn(table))
    lines = console.export_text().splitlines()
    assert [line.split()[0] for line in lines[4:8]] == ["trial", "the", "baseline:", "baseline:"]
    assert lines[4].split()[2:] == ["0.600", "0.020", "0.500-0.700", "0.600", "0.600"]
    assert max(map(len, lines)) <= 80


def _comparison(*right, other=()):
    """A network for each list of how many of 10 clips, half of either class, are right: for each of 8 subjects."""
    matrices = [np.array([[[[k // 2, 5 - k // 2], [5 - (k - k // 2), k - k // 2]] for k in each]]) for each in right]
    names = ["trial 7", "the search's start", "trial 8"]
    met = tuple(Contestant(name, "", each) for name, each in zip(names, matrices, strict=False))
    return comparison(met, tuple(f"s{k}" for k in range(8)), (1000,), other, "CASME II", False)


FINE, POOR, MIXED = [9] * 8, [5] * 8, [9, 8, 10, 9, 8, 9, 10, 9]


@pytest.mark.parametrize(
    ("found", "start", "words"),
    [
        (FINE, POOR, "trial 7 is better than the search's start: UF1 0.899 and 0.495"),
        (POOR, FINE, "trial 7 is WORSE than the search's start: UF1 0.495 and 0.899"),
        (MIXED, FINE, "trial 7 is NOT shown to be better than the search's start"),
        (FINE, FINE, "trial 7 does NOT differ from the search's start"),
    ],
)
def test_whether_a_search_found_something_better_than_its_start_is_said_plainly(found, start, words):
    lines = comparison_lines(_comparison(found, start, other=("s6", "s7")), 1, "the search's start")
    assert len(lines) == 1  # nothing is said of two subjects
    assert words in lines[0]
    if found != start:
        alone = comparison_lines(_comparison(found, start, other=("s5", "s6", "s7")), 1, "the search's start")[1]
        assert alone.startswith("On the 3 subjects that the search never scored: ")


def test_a_search_whose_best_is_its_start_found_nothing():
    assert "NOTHING" in comparison_lines(_comparison(FINE), 1, "trial 7")[0]


def test_choosing_among_confirmed_trials_comes_with_a_warning():
    lines = comparison_lines(_comparison(POOR, MIXED, FINE), 3, "the search's start")
    assert lines[0].startswith("trial 8 is better than trial 7: UF1 0.899 and 0.495")
    assert "Choosing the best of 3" in lines[1]
    assert len(lines) == 3


def _page(summary):
    return to_html(Document(summary.title, estimates(summary), []))


def test_the_page_says_synthetic_and_escapes_what_it_is_given():
    text = _page(SUMMARY)
    assert "These clips are synthetic" in text
    assert "<7>" not in text
    assert "trial &lt;7&gt; is NOT shown to be better" in text
    assert "These clips are synthetic" not in _page(summary_with(synthetic=False))


def test_the_published_mark_stands_only_on_the_clips_it_was_published_for():
    real = summary_with(synthetic=False, dataset="CASME II, 5 classes")
    assert "macro F1 of 0.8676" in _page(real)
    assert "Under the same rule this network has 0.6000" in _page(real)
    assert "0.8676" not in _page(summary_with(synthetic=False, dataset="CASME II, 3 classes"))
    assert "0.8676" not in _page(SUMMARY)


DOCUMENT = Document(
    "A <title>",
    [Text("Mind this", True)],
    [
        Section("Numbers", [Table(("name", "UF1"), [("a|b", "0.5"), ("c", "")], "What it is.", strong=0)]),
        Section("Pictures", [Picture("one", "What is shown", b"png"), Code("x < 1")]),
    ],
)


def test_a_page_is_one_file_and_reads_the_same_as_markdown(tmp_path):
    html = to_html(DOCUMENT)
    for part in (
        "<title>A &lt;title&gt;</title>",
        "<p class=warning>Mind this</p>",
        "<tr class=strong><td>a|b</td><td class=number>0.5</td></tr>",
        'src="data:image/png;base64,cG5n"',
        "<pre>x &lt; 1</pre>",
    ):
        assert part in html
    assert "http" not in html
    document.write_markdown(DOCUMENT, tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == (
        "# A <title>\n\n> **Mind this**\n\n## Numbers\n\n| name | UF1 |\n| --- | ---: |\n| **a\\|b** | **0.5** |\n"
        "| c |  |\n\nWhat it is.\n\n## Pictures\n\n![What is shown](report/one.png)\n\n```\nx < 1\n```\n"
    )
    assert (tmp_path / "report" / "one.png").read_bytes() == b"png"


def test_a_contact_sheet_has_a_strip_a_tile_and_its_words(tmp_path):
    tiles = [Tile("a|b", "two <pictures>", [("onset", b"png"), ("apex", b"gnp")]), Tile("c", "none", [])]
    shown = Document("Title", [], [Section("Clips", [Sheet("clips", "What is shown", tiles)])])
    html = to_html(shown)
    for part in (
        "<b>a|b</b> two &lt;pictures&gt;",
        'alt="a|b: onset" src="data:image/png;base64,cG5n">onset</span>',
        "<figcaption>What is shown</figcaption>",
        '<b>c</b> none</p><div class="strip"></div>',
    ):
        assert part in html
    document.write_markdown(shown, tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == (
        "# Title\n\n## Clips\n\n**a|b** two <pictures>\n\n| onset | apex |\n| --- | ---: |\n"
        "| ![onset](report/clips-1-1.png) | ![apex](report/clips-1-2.png) |\n\n**c** none\n\nWhat is shown\n"
    )
    assert (tmp_path / "report" / "clips-1-2.png").read_bytes() == b"gnp"


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (192, "3.2 min"), (5400, "1.5 h"), (1171 * 3600, "48.8 days")]
)
def test_a_time_is_said_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text


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


@pytest.mark.parametrize(("flop", "text"), [(8.7e12, "8.7 TFLOP"), (39e15, "39 PFLOP"), (5e5, "0.5 MFLOP")])
def test_operations_are_said_with_a_unit(flop, text):
    assert operations(flop) == text


def test_values_are_named_without_their_part():
    assert values_text({"train.lr": 0.00081234, "input.channels": "nr"}) == "lr=0.000812 channels=nr"
