"""What is shown: figures are pictures, pages are whole, numbers are said as a person says them."""

import html
import re
from dataclasses import replace
from itertools import count

import pytest
from small import ALONE, FINE, MIXED, PLAIN, POOR, SCORE, compared, summary_with

from mer_search.report import costs, document, terminal
from mer_search.report.document import Code, Document, Picture, Section, Sheet, Table, Text, Tile, to_html
from mer_search.report.page import chosen, classes, estimates, result
from mer_search.report.page import comparison as comparison_page
from mer_search.report.terminal import duration, operations
from mer_search.report.trials import values_text
from mer_search.training.loop import Epoch

SUMMARY = summary_with()


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
    found = compared(FINE, MIXED, start="the search's start")
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
    found = compared(FINE, POOR)
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
