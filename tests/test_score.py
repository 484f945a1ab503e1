"""Anybody's log of predictions: scores worked out by scikit-learn from the text, refusals, two logs in pairs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
from small import one_line, summary_with

from mer_search.confirmation import scoring
from mer_search.confirmation.summary import Summary
from mer_search.evaluation.logs import read_log
from mer_search.evaluation.metrics import fold_confusion, pooled_uf1, tail
from mer_search.evaluation.predictions import Predictions
from mer_search.evaluation.statistics import paired_interval, permutation_p, uf1_interval

TITLES = "subject,clip,truth,prediction"
MEGC = "casme2 sub01\nEP01 0 0\nEP02 1 2\ncasme2 sub02\nEP01 2 2\nEP03 1 1\nEP04 0 1\n"
TABLE = f"""{TITLES}
sub01,EP01,0,0
sub01,EP02,1,2
sub02,EP01,2,2
sub02,EP03,1,1
sub02,EP04,0,1
"""


def drawn(seed, right, subjects=8, epochs=1):
    """A table with a row for each clip and epoch, of subjects with 4 to 9 clips of three classes."""
    clips, noise = np.random.default_rng(7), np.random.default_rng(seed)
    rows = []
    for subject in range(1, subjects + 1):
        for clip, truth in enumerate(clips.integers(0, 3, clips.integers(4, 10))):
            for epoch in range(1, epochs + 1):
                said = truth if noise.random() < right else noise.integers(0, 3)
                rows.append((f"sub{subject:02d}", f"EP{clip:02d}_{subject}f", truth, said, epoch))
    return pd.DataFrame(rows, columns=["subject", "clip", "truth", "prediction", "epoch"])


def written(path, table):
    (table if table.epoch.nunique() > 1 else table.drop(columns="epoch")).to_csv(path, index=False)
    return Path(path)


def macro(table, labels=None):
    """Macro F1 of pooled rows, over the classes that have clips."""
    labels = labels or sorted({*table.truth})
    return f1_score(table.truth, table.prediction, average="macro", labels=labels, zero_division=0)


@pytest.fixture
def scored(mer_search):
    """A function that scores files, and gives the document."""

    def run(*files):
        done = mer_search("score", *files, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


def test_scores_are_scikit_learns_of_the_pooled_clips(scored):
    table = drawn(0, 0.6)
    (log,) = scored(written("log.csv", table))["logs"]
    score = log["rules"]["as_given"]
    assert score["uf1"] == pytest.approx(macro(table))
    assert score["uar"] == pytest.approx(recall_score(table.truth, table.prediction, average="macro"))
    assert score["accuracy"] == pytest.approx(accuracy_score(table.truth, table.prediction))
    assert score["confusion"] == confusion_matrix(table.truth, table.prediction).tolist()
    by_subject = [rows for _, rows in table.groupby("subject")]
    assert [each["f1"] for each in score["subjects"]] == pytest.approx(list(map(macro, by_subject)))
    assert [each["n_clips"] for each in score["subjects"]] == list(map(len, by_subject))
    assert [each["n_correct"] for each in score["subjects"]] == [sum(g.truth == g.prediction) for g in by_subject]
    matrices = [confusion_matrix(rows.truth, rows.prediction, labels=[0, 1, 2]) for rows in by_subject]
    assert score["ci95"] == pytest.approx(uf1_interval(np.array([matrices])))
    assert (score["leaks"], log["epochs"], log["n_clips"]) == (None, [], len(table))


FORMS = {
    "megc": MEGC,
    "megc with tabs, and a line between subjects": MEGC.replace(" ", "\t").replace("casme2\tsub02", "\ncasme2\tsub02"),
    "table": TABLE,
    "semicolons": TABLE.replace(",", ";"),
    "tabs, and a byte order mark": "\ufeff" + TABLE.replace(",", "\t"),
    "other titles": TABLE.replace(TITLES, "Sub, File Name ,y_true,Predicted Label"),
    "another order": "pred;GT;Sub;Filename\n0;0;sub01;EP01\n2;1;sub01;EP02\n2;2;sub02;EP01\n1;1;sub02;EP03\n"
    "1;0;sub02;EP04",
    "classes as a spreadsheet has them": TABLE.replace(",2,2", ",2.0,2"),
    "notes beside": TABLE.replace(TITLES, f"{TITLES},note").replace(",2,2", ",2,2,x"),
    "the subject in the clip's name": TABLE.replace("EP01", "sub01/EP01", 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_log_is_the_same_log(form, tmp_path):
    (tmp_path / "log.txt").write_text(FORMS[form])
    log = read_log(tmp_path / "log.txt")
    clips = [("sub01/EP01", "sub01/EP02"), ("sub02/EP01", "sub02/EP03", "sub02/EP04")]
    assert [fold.clips for fold in log.folds] == clips
    assert (log.classes, log.epochs) == (("0", "1", "2"), ())
    assert [fold.labels.tolist() for fold in log.folds] == [[0, 1], [2, 1, 0]]
    assert [fold.probabilities.argmax(-1).tolist() for fold in log.folds] == [[[0, 2]], [[2, 1, 1]]]


def test_a_spreadsheet_is_a_table(scored):
    drawn(0, 0.6).to_excel("log.xlsx", index=False)
    one, other = scored("log.xlsx", written("log.csv", drawn(0, 0.6)))["logs"]
    assert one["rules"]["last"]["confusion"] == other["rules"]["as_given"]["confusion"]
    assert one["epochs"] == [1]


def test_classes_may_be_names_and_numbers_have_their_order(tmp_path):
    names = {0: "Surprise", 1: "happiness", 2: "others"}
    table = drawn(0, 0.6)
    words = table.assign(truth=table.truth.map(names), prediction=table.prediction.map(names).str.upper())
    log = read_log(written(tmp_path / "log.csv", words))
    assert log.classes == ("happiness", "others", "surprise")
    tens = table.assign(truth=table.truth * 9 + 2, prediction=table.prediction * 9 + 2)
    assert read_log(written(tmp_path / "log.csv", tens)).classes == ("2", "11", "20")


def test_subjects_of_one_name_in_two_databases_are_two(tmp_path):
    (tmp_path / "log.txt").write_text("casme2 01\nEP01 0 0\nsmic 01\nEP01 1 1\nsmic 02\nEP01 1 0\n")
    assert [fold.subject for fold in read_log(tmp_path / "log.txt").folds] == ["casme2 01", "smic 01", "02"]


def test_a_confirmations_own_log_has_the_score_of_its_confusion(scored):
    random = np.random.default_rng(3)
    folds = []
    for subject in range(1, 6):
        clips = tuple(f"sub{subject:02d}/EP{k:02d} {subject}f" for k in range(6))
        probs = random.dirichlet(np.ones(3), (5, 6)).astype(np.float16)
        folds.append(Predictions(1000, f"sub{subject:02d}", clips, np.arange(6) % 3, probs))
    Path("megc_log.txt").write_text(scoring.megc_log(scoring.averaged(folds), "casme2"))
    (log,) = scored("megc_log.txt")["logs"]
    found = log["rules"]["as_given"]
    assert found["confusion"] == sum(fold_confusion(fold, tail) for fold in folds).tolist()
    assert found["uf1"] == pytest.approx(pooled_uf1(folds, tail))
    assert found["ci95"] == pytest.approx(uf1_interval(np.array([[fold_confusion(fold, tail) for fold in folds]])))


def _best(rows):
    """The published rule in other words: best macro F1, then accuracy, then the earliest epoch."""
    each = [(round(macro(g), 12), (g.truth == g.prediction).mean(), -epoch) for epoch, g in rows.groupby("epoch")]
    return -max(each)[2]


def test_a_log_with_epochs_is_scored_at_the_last_and_at_the_best_which_leaks(scored, mer_search):
    table = drawn(1, 0.5, epochs=6)
    table["epoch"] *= 5
    path = written("log.csv", table.sample(frac=1, random_state=0))
    (log,) = scored(path)["logs"]
    assert log["epochs"] == [5, 10, 15, 20, 25, 30]
    last, best = log["rules"]["last"], log["rules"]["best_test_epoch"]
    assert (last["leaks"], best["leaks"]) == (False, True)
    assert last["uf1"] == pytest.approx(macro(table[table.epoch == 30]))
    chosen = {subject: _best(rows) for subject, rows in table.groupby("subject")}
    assert {each["subject"]: each["epoch"] for each in best["subjects"]} == chosen
    assert len(set(chosen.values())) > 1
    assert best["uf1"] == pytest.approx(macro(table[table.epoch == table.subject.map(chosen)]))
    assert {each["epoch"] for each in last["subjects"]} == {30}

    shown = " ".join(mer_search("score", path).stdout.split())
    points = 100 * (best["uf1"] - last["uf1"])
    assert f"last epoch, no epoch selected {last['uf1']:.3f}" in shown
    assert f"best test epoch (LEAKS) {best['uf1']:.3f}" in shown
    assert f"That alone adds {points:+.1f} points" in shown and "does not say" not in shown


def test_a_log_without_epochs_does_not_say_how_they_were_chosen(mer_search):
    table = drawn(0, 0.6)
    path = written("log.csv", table.replace({"prediction": {2: 3}}))
    shown = " ".join(mer_search("score", path).stdout.split())
    assert "The log does not say how the epochs of its predictions were chosen" in shown
    assert "No clip is 3: that does not count as a class, and taking a clip for it is an error." in shown
    ones = table[table.truth == 1]
    right = int((ones.prediction == 1).sum())
    assert f"{right} ({right / len(ones):.0%})" in shown


REFUSALS = {
    "empty": ("", "is empty", "subject, clip, truth and prediction"),
    "blank lines": ("\n , \n", "is empty"),
    "titles alone": (TITLES, "has titles and no clip below them"),
    "no truth": ("Sub,Filename,pred\na,b,1", "Sub, Filename, pred, without truth;", "needs the titles"),
    "no clip, no prediction": ("subject,truth\nsub01,1", "subject, truth, without clip and prediction;"),
    "other columns": ("a,b,c,d\n1,2,3,4", "a, b, c, d, without subject and clip and truth", "needs the titles"),
    "two truths": (f"{TITLES},label\nsub01,EP01,1,1,2", "of which 2 may be the truth"),
    "a clip twice": (TABLE + "sub02,EP01,2,0", "has sub02/EP01 twice, on lines 4 and 7"),
    "a clip twice in an epoch": (
        f"{TITLES},epoch\nsub01,EP01,1,1,3\nsub01,EP01,1,1,4\nsub01,EP01,1,2,4", "twice in epoch 4, on lines 3 and 4"
    ),
    "no subject": (TABLE + ",EP09,1,1", "line 7 has the subject ''"),
    "no name of a clip": (TABLE + "sub02,,1,1", "line 7 has the subject 'sub02' and the clip ''"),
    "no prediction": (TABLE + "sub02,EP09,1", "line 7 has the prediction '', which is no class"),
    "a probability": (TABLE + "sub02,EP09,1,0.7", "line 7 has the prediction '0.7', which is no class"),
    "a truth that is no number": (TABLE + "sub02,EP09,nan,1", "line 7 has the truth 'nan', which is no class"),
    "a negative class": (TABLE + "sub02,EP09,-1,1", "line 7 has the truth '-1', which is no class"),
    "names and numbers": (TABLE + "sub02,EP09,1,Surprise", "numbers and names", "and surprise"),
    "a misspelt class": (f"{TITLES}\na,1,surprise,surprise\na,2,fear,suprise", "line 3 predicts 'suprise', which"),
    "too many classes": (TITLES + "".join(f"\nsub01,EP{k},{k},{k}" for k in range(31)), "of 31 classes"),
    "a comma in a name": (TABLE + "sub02,EP09,a,1,1", "line 7 has 5 cells, and there are 4 columns"),
    "an epoch that is none": (f"{TITLES},epoch\nsub01,EP01,1,1,last", "epoch on line 2", "'last'"),
    "epochs that differ between subjects": (
        f"{TITLES},epoch\nsub01,EP01,1,1,1\nsub01,EP01,1,1,2\nsub02,EP01,1,1,2", "has sub02/EP01 not in epoch 1"
    ),
    "clips that differ between epochs": (
        f"{TITLES},epoch\nsub01,EP01,1,1,1\nsub01,EP01,1,1,2\nsub01,EP02,1,1,1", "has sub01/EP02 not in epoch 2"
    ),
    "truths that differ between epochs": (
        f"{TITLES},epoch\nsub01,EP01,1,1,1\nsub01,EP01,0,1,2", "the truth of sub01/EP01 is 1 on line 2 and 0 on line 3"
    ),
    "a subject without clips": (MEGC + "casme2 sub03\n", "line 8, 'casme2 sub03'"),
    "a subject without clips in between": ("casme2 sub00\n" + MEGC, "line 1, 'casme2 sub00'"),
    "a clip of nobody": ("EP01 0 0\n" + MEGC, "line 1, 'EP01 0 0'", "casme2 sub01"),
    "a clip without its prediction": (MEGC.replace("EP03 1 1", "EP03 1"), "line 6, 'EP03 1'"),
    "a clip without truth and prediction": (MEGC.replace("EP03 1 1", "EP03"), "line 6, 'EP03'"),
    "no text": (b"\x00\x01\x02", "zero byte"),
    "an open quotation mark": (TABLE + '"sub02,EP09,1,1', "readable table"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_no_log_is_one_clear_line_with_nothing_on_stdout(mer_search, what):
    text, *words = REFUSALS[what]
    Path("log.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = mer_search("score", "log.csv", "--json")
    one_line(done, 1, "log.csv must", *words)
    assert done.stdout == ""


def test_files_that_cannot_be_read_are_one_line(mer_search):
    one_line(mer_search("score", "nowhere.csv"), 1, "nowhere.csv", "there is no such file; correct the path")
    one_line(mer_search("score", "."), 1, "must be a file")
    one_line(mer_search("score"), 2, "FILE")
    assert "mer-search score" in mer_search("score", "--help").stdout.split("Example:")[1]


def test_two_logs_are_compared_on_the_clips_that_both_have(scored, mer_search):
    good, poor = drawn(0, 0.95), drawn(1, 0.1)
    lacks = poor[(poor.subject != "sub08") & (poor["clip"] != "EP00_1f")]
    spelt = lacks.assign(subject=lacks.subject.str[3:].astype(int), clip=lacks["clip"].str.lower())
    more = pd.DataFrame([(9, "EP77", 0, 0, 1)], columns=spelt.columns)
    files = written("good.csv", good), written("poor.csv", pd.concat([spelt, more]))
    found = scored(*files)["comparison"]
    assert found["n_shared"] == len(lacks)
    assert found["not_shared"] == [len(good) - len(lacks), 1]
    both = good.merge(lacks, on=["subject", "clip"], suffixes=("", "_2"))
    (pair,) = found["found"]["pairs"]
    assert pair["difference"] == pytest.approx(macro(both) - macro(lacks))
    matrices = [
        np.array([[confusion_matrix(g.truth, g[said], labels=[0, 1, 2]) for _, g in both.groupby("subject")]])
        for said in ("prediction", "prediction_2")
    ]
    assert pair["ci95"] == pytest.approx(paired_interval(*matrices))
    assert pair["p"] == permutation_p(*matrices) < 0.05
    assert pair["shown"] and "good.csv is better than poor.csv" in pair["conclusion"]
    (turned,) = scored(*files[::-1])["comparison"]["found"]["pairs"]
    assert turned["difference"] == pytest.approx(-pair["difference"])
    assert "good.csv is better than poor.csv" in turned["conclusion"]
    shown = " ".join(mer_search("score", *files).stdout.split())
    assert pair["conclusion"] in shown
    assert f"on {len(lacks)} shared clips of 7 subjects; " in shown
    assert f"not shared: {len(good) - len(lacks)} clips of good.csv, 1 of poor.csv" in shown
    assert "How the epochs of good.csv and poor.csv were chosen is not known" in shown


def test_equals_are_not_told_apart(scored):
    (pair,) = scored(written("a.csv", drawn(0, 0.6)), written("b.csv", drawn(5, 0.6)))["comparison"]["found"]["pairs"]
    assert not pair["shown"] and pair["conclusion"].startswith("no difference shown between a.csv and b.csv: ")
    few = drawn(0, 0.95, subjects=3), drawn(1, 0.1, subjects=3)
    (pair,) = scored(*map(written, ("a.csv", "b.csv"), few))["comparison"]["found"]["pairs"]
    assert "3 subjects that tell them apart are too few to show a difference" in pair["conclusion"]
    (pair,) = scored("a.csv", "a.csv")["comparison"]["found"]["pairs"]
    assert pair["same"]


def test_logs_with_epochs_meet_at_the_last(scored, mer_search):
    table, other = drawn(1, 0.5, epochs=4), drawn(2, 0.7)
    files = written("a.csv", table), written("b.csv", other)
    found = scored(*files)["comparison"]["found"]
    assert found["pairs"][0]["difference"] == pytest.approx(macro(table[table.epoch == 4]) - macro(other))
    assert "How the epochs of b.csv were chosen is not known" in " ".join(mer_search("score", *files).stdout.split())


def test_a_class_that_one_log_predicts_and_that_has_no_clip_counts_for_neither(scored, mer_search):
    """Else one log's UF1 would be over other classes than the other's, and differ by whether one clip was called so."""
    good, odd = drawn(0, 0.9), drawn(1, 0.9)
    odd.loc[odd.index[:3], "prediction"] = 3
    both = written("a.csv", good), written("b.csv", odd)
    told = scored(*both)
    (pair,) = told["comparison"]["found"]["pairs"]
    of_both = [each["rules"]["as_given"]["uf1"] for each in told["logs"]]
    assert of_both == [pytest.approx(macro(good)), pytest.approx(macro(odd))]
    assert pair["difference"] == pytest.approx(macro(good) - macro(odd))
    assert f"UF1 {macro(good):.3f} and {macro(odd):.3f}" in pair["conclusion"]
    assert "Not counted, for no clip is of it: 3." in " ".join(mer_search("score", *both).stdout.split())
    low, high = pair["ci95"]
    assert pair["difference"] == pytest.approx((low + high) / 2)


def test_a_confirmations_own_log_meets_one_with_names(scored, mer_search):
    Path("megc_log.txt").write_text(MEGC)
    Path("summary.json").write_text(summary_with(classes=("negative", "Positive", "surprise")).to_json())
    Path("subjects.csv").write_text("subject,tuning\nsub01,1\nsub02,0\n")
    names = dict(enumerate(("Negative", "positive", "surprise")))
    rows = [row for row in TABLE.splitlines()[1:] if row]
    named = [",".join([*row.split(",")[:2], *(names[int(cell)] for cell in row.split(",")[2:])]) for row in rows]
    Path("theirs.csv").write_text("\n".join([TITLES, *named]))
    for pair in (("theirs.csv", "megc_log.txt"), ("megc_log.txt", "theirs.csv")):
        assert scored(*pair)["comparison"]["found"]["pairs"][0]["same"]
    shown = " ".join(mer_search("score", *pair).stdout.split())
    assert ", the mean of 2 seeds; a search that scored sub01 chose the network " in shown
    assert "tail, seeds averaged, no epoch selected" in shown
    summary = Summary.model_validate_json(Path("summary.json").read_text())
    Path("summary.json").write_text(summary.model_copy(update={"leaks": True}).to_json())
    assert "tail, seeds averaged (LEAKS)" in " ".join(mer_search("score", "megc_log.txt").stdout.split())


def test_the_subjects_that_a_search_never_scored_are_compared_apart(scored, mer_search):
    """They are known by the confirmation's own log, whichever of the two it is and however the other spells them."""
    table, theirs = drawn(0, 0.9), drawn(1, 0.2)
    rows = table.groupby("subject")[["clip", "truth", "prediction"]]
    logs = (f"casme2 {name}\n{own.to_csv(sep=' ', header=False, index=False)}" for name, own in rows)
    Path("megc_log.txt").write_text("".join(logs))
    Path("summary.json").write_text(summary_with(classes=("a", "b", "c")).to_json())
    Path("subjects.csv").write_text("subject,tuning\n" + "".join(f"sub{k:02d},{int(k < 4)}\n" for k in range(1, 9)))
    files = written("theirs.csv", theirs.assign(subject=theirs.subject.str[3:].astype(int))), Path("megc_log.txt")
    other = macro(theirs[theirs.subject > "sub03"]) - macro(table[table.subject > "sub03"])
    for both, sign, spelt in ((files, 1, "{}"), (files[::-1], -1, "sub0{}")):
        found = scored(*both)["comparison"]["found"]
        assert found["tuning"] == [spelt.format(k) for k in (1, 2, 3)]
        assert found["other"] == [spelt.format(k) for k in range(4, 9)]
        assert found["pairs_on_other"][0]["difference"] == pytest.approx(sign * other)
        shown = " ".join(mer_search("score", *both).stdout.split())
        assert f"On the 5 subjects that the search never scored: {found['pairs_on_other'][0]['numbers']}." in shown
        assert "Scores of 3 of these 8 subjects had a part in choosing" in shown


def test_a_confirmations_own_log_must_have_its_classes(mer_search):
    Path("megc_log.txt").write_text(MEGC.replace("2 2", "2 9"))
    Path("summary.json").write_text(summary_with(classes=("negative", "positive", "surprise")).to_json())
    Path("subjects.csv").write_text("subject,tuning\nsub01,1\nsub02,0\n")
    Path("theirs.csv").write_text(f"{TITLES}\ns1,EP01,positive,negative")
    words = "megc_log.txt must have the classes 0, 1, 2 of the summary.json beside it, but has 9"
    one_line(mer_search("score", "megc_log.txt", "theirs.csv"), 1, words)


def test_two_logs_that_cannot_be_compared_are_one_line(mer_search):
    Path("a.csv").write_text(TABLE)
    Path("b.csv").write_text(TABLE.replace("EP03,1,1", "EP03,0,1").replace("EP04,0,1", "EP04,1,1"))
    said = "same truths", "sub02/EP03 is 1 in the first and 0 in the second"
    one_line(mer_search("score", "a.csv", "b.csv"), 1, *said)
    Path("b.csv").write_text(TABLE.replace("EP0", "clip"))
    one_line(mer_search("score", "a.csv", "b.csv"), 1, "share none, such as sub01/EP01 and sub01/clip1")
    Path("b.csv").write_text(TABLE + "sub02,ep1,2,2")
    done = mer_search("score", "a.csv", "b.csv")
    one_line(done, 1, "b.csv must name each clip once", "sub02/EP01 and sub02/ep1")
    assert done.stdout == ""
