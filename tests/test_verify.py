"""What is stored is computed again, and whatever was changed afterwards is found."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from click.testing import CliRunner
from sklearn.metrics import f1_score
from small import STUDY, copied_study, made_by

from mer_search import cli
from mer_search.confirmation import verify
from mer_search.confirmation.summary import read_summary
from mer_search.confirmation.verify import unlike, verify_confirmation, verify_study
from mer_search.evaluation.predictions import load, save
from mer_search.report.summaries import summary_rows
from mer_search.search.storage import find_study, open_storage

URL = "sqlite:///mer-search.db"


def mer_search(*arguments, code=0):
    done = CliRunner().invoke(cli.main, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory, executor):
    """A folder in which two trials on three of four subjects were made, and the best was confirmed with two seeds."""
    text = STUDY.replace('"all"', '"1-3"').replace("finalists = 0", "finalists = 2")
    commands = "run --study small.toml --data flow --trials 2", "confirm --seeds 2 --against V4"
    return made_by(commands, tmp_path_factory.mktemp("confirmed"), executor, text)


@pytest.fixture
def small(confirmed, tmp_path, monkeypatch):
    """The results folder of a copy of it all, which the study knows."""
    copied_study(confirmed, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return Path("runs/small")


@pytest.fixture
def confirmation(small):
    (path,) = (small / "confirm").glob("trial-?/summary.json")
    return path.parent


def test_what_was_not_touched_agrees(small, confirmation):
    checked = verify_study(find_study(open_storage(URL), None))
    assert checked.differences == []
    assert checked.what[0] == "study small: 2 trials, 2 confirmations"
    assert len(checked.what) == 5
    for folder in (small, small / "trial-0001", confirmation):
        assert "no differences" in mer_search("verify", folder).stdout
    assert json.loads(mer_search("verify", "--json").stdout) == {"checked": checked.what, "differences": []}
    assert "verify needs the folder of a study" in mer_search("verify", "nowhere", code=2).stderr
    shutil.copytree(small, "copy")
    assert "verify needs the folder of the study's results" in mer_search("verify", "copy", code=2).stderr


def test_the_headline_is_what_scikit_learn_computes_from_the_log(confirmation):
    """From the text alone, by another's code: the mean is over the classes that occur."""
    lines = [line.split() for line in (confirmation / "megc_log.txt").read_text().splitlines()]
    truth, guess = zip(*((int(row[1]), int(row[2])) for row in lines if len(row) == 3), strict=True)
    summary = json.loads((confirmation / "summary.json").read_text())
    found = f1_score(truth, guess, average="macro", labels=sorted({*truth, *guess}), zero_division=0)
    assert summary["rules"]["tail"]["all"]["averaged"]["uf1"] == pytest.approx(found, abs=1e-12)


def test_what_a_trial_is_compared_with_has_its_groups_and_was_not_chosen_by_the_search(confirmation):
    (path,) = confirmation.parent.glob("against-*/summary.json")
    found, start, beside = read_summary(confirmation / "summary.json"), read_summary(path), path.parent
    assert list(start.rules["tail"]) == list(found.rules["tail"]) == ["all", "other", "tuning"]
    assert (found.n_chosen_on, start.n_chosen_on, found.n_tuning, start.n_tuning) == (3, 0, 3, 3)
    assert [row[:2] for row in summary_rows(start)[:2]] == [
        ("tail, leak-free", "4 all"),
        ("tail, leak-free", "1 other"),
    ]
    page = (beside / "report.md").read_text()
    assert "no epoch selected" not in page and "The search did not choose this network." in page
    (log,) = json.loads(mer_search("score", beside / "megc_log.txt", "--json").stdout)["logs"]
    assert (log["tuning"], log["other"]) == ([], None)


def test_a_confirmations_own_log_is_scored_as_the_confirmation_is(confirmation):
    path, tail = confirmation / "megc_log.txt", json.loads((confirmation / "summary.json").read_text())["rules"]["tail"]
    (log,) = json.loads(mer_search("score", path, "--json").stdout)["logs"]
    assert log["tuning"] == ["sub01", "sub02", "sub03"]
    for group, found in {"all": log["rules"]["tail"], "other": log["other"]}.items():
        assert list(unlike("", {name: found[name] for name in ("uf1", "ci95")}, tail[group]["averaged"])) == []
    shown = " ".join(mer_search("score", path).stdout.split())
    assert "; a search that scored sub01, sub02, sub03 chose the network " in shown
    assert f"the same, leak-free: 1 other subject {log['other']['uf1']:.3f}" in shown


def _file(name, change):
    """A function that changes the first file of that name in a folder."""
    return lambda folder: change(min(folder.glob(name)))


def _edit(name, before, after):
    def change(path):
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))

    return _file(name, change)


def _cut(name):
    return _file(name, lambda path: path.write_bytes(path.read_bytes()[:-7]))


def _delete(name):
    return _file(name, Path.unlink)


def _fold(change):
    return _file("folds/*.npz", lambda path: save(path, change(load(path))))


def _summary(change):
    def changed(path):
        facts = json.loads(path.read_text())
        change(facts)
        path.write_text(json.dumps(facts))

    return _file("summary.json", changed)


FOLD = {
    "a fold that was turned round": (_fold(lambda f: replace(f, probabilities=f.probabilities[..., ::-1])), "UF1|uf1"),
    "a fold with another label": (_fold(lambda f: replace(f, labels=f.labels * 0)), "UF1|uf1"),
    "a fold that is gone": (_delete("folds/*.npz"), r"must hold \d+ folds"),
    "a fold that is cut short": (_fold(lambda f: f.until(1)), r"must hold \d+ folds|epochs"),
    "chances that are none": (
        _fold(lambda f: replace(f, probabilities=f.probabilities * 0)),
        "must have probabilities",
    ),
    "a fold of another name": (
        _file("folds/*.npz", lambda path: path.rename(path.with_stem(path.stem.replace("sub01", "sub09")))),
        "it holds the fold of sub01",
    ),
    "a file that is cut short": (_cut("folds/*.npz"), "must hold a fold's predictions, but cannot be read"),
    "another configuration": (_edit("config.json", '"epochs": 2', '"epochs": 3'), "must have the digest of its run"),
    "a history with a word for a number": (_edit("folds/*.csv", "sub01,2,", "sub01,two,"), "must be a table of epochs"),
    "a configuration without its digest": (_edit("config.json", '"digest"', '"digests"'), "something there is not"),
    "a history without an epoch": (_edit("folds/*.csv", "sub01,2,", "sub01,7,"), "history of 2 epochs of fold sub01"),
}
CONFIRMATION = {
    "a better mean": (_summary(lambda s: s["rules"]["tail"]["all"].update(uf1=0.9)), r"rules.tail.all.uf1 is 0.9, but"),
    "an interval": (_summary(lambda s: s["rules"]["last"]["all"]["ci95"].reverse()), r"rules.last.all.ci95\[0\]"),
    "a gap": (_summary(lambda s: s.update(gap=0.0001)), "gap is 0.0001"),
    "a baseline": (_summary(lambda s: s["baselines"]["rbf_svm"]["all"].update(uf1=0.1)), "rbf_svm.all.uf1 is 0.1"),
    "no pairs": (_summary(lambda s: s.update(against_baseline={})), "against_baseline"),
    "a pair": (_summary(lambda s: s["against_baseline"]["all"].update(p=0.001)), "against_baseline.all.p is 0.001"),
    "the correction": (_summary(lambda s: s["uf1_bbc"].update(uf1=0.99)), r"uf1_bbc.uf1 is 0.99"),
    "the comparison": (_summary(lambda s: s["comparison"].update(winner="V4!")), r"comparison.winner is 'V4!'"),
    "that a search chose it": (_summary(lambda s: s.update(given=True)), "given is True, but of a trial it is False"),
    "that it does not leak": (_summary(lambda s: s.update(leaks=True)), "leaks is True"),
    "that another leaks": (
        _summary(lambda s: s["comparison"]["networks"][1].update(leaks=True)),
        r"\[1\].leaks is True",
    ),
    "no summary": (lambda folder: (folder / "summary.json").write_text("{"), "must be a confirmation's summary"),
    "a subject's row": (_edit("subjects.csv", "sub02,1,2", "sub02,1,3"), "subjects.csv must be what"),
    "a summary without its digest": (_summary(lambda s: s.pop("digest")), "digest: Field required"),
    "a comparison without its seeds": (_summary(lambda s: s["comparison"].pop("seeds")), "comparison.seeds: Field req"),
    "damaged baselines": (_edit("../baselines-*.json", "labels", "label"), "must hold the baselines' classes"),
    "no rival": (_delete("../against-*/config.json"), "a folder beside .* must hold the 8 folds"),
    "no baselines": (_delete("../baselines-*.json"), "must hold the baselines' classes"),
    "other comparison on other subjects": (_summary(lambda s: s["comparison"].update(other=["sub01"])), "comparison"),
    "no seeds": (_summary(lambda s: s.update(seeds=None)), "seeds: Input should be a valid tuple"),
    "no log": (_delete("megc_log.txt"), "something there is not"),
    "a rival's folds": (
        lambda folder: [path.unlink() for path in folder.parent.glob("against-*/folds/*.npz")],
        r"against-\w+ must hold the 8 folds",
    ),
    "no table": (_delete("subjects.csv"), "must be a table of subjects"),
    "a line of the log": (_edit("megc_log.txt", "EP00", "EP99"), "megc_log.txt must be what"),
    "a checkpoint": (_cut("checkpoints/1001-sub03.safetensors"), "1001-sub03.safetensors must hold a network"),
    "a checkpoint of another epoch": (
        lambda folder: (folder / "checkpoints/1001-sub03.best_test_epoch.safetensors").write_bytes(b"junk"),
        "best_test_epoch.safetensors must hold a network",
    ),
    "no checkpoint": (_delete("checkpoints/1001-sub03.safetensors"), "1001-sub03.safetensors must hold a network"),
}


@pytest.mark.parametrize("what", [*FOLD, *CONFIRMATION])
def test_whatever_is_changed_in_a_confirmation_is_found(confirmation, what):
    damage, words = (FOLD | CONFIRMATION)[what]
    damage(confirmation)
    _found(verify_confirmation(confirmation), words)


@pytest.mark.parametrize("what", FOLD)
def test_whatever_is_changed_in_a_trial_is_found(small, what):
    damage, words = FOLD[what]
    damage(small / "trial-0001")
    _found(verify_study(find_study(open_storage(URL), None)), words)
    assert "difference" in mer_search("verify", small / "trial-0001", code=1).stdout


def test_a_network_that_is_gone_is_there_again_after_what_is_advised(confirmation, everywhere):
    network = next((confirmation / "checkpoints").glob("1001-*"))
    network.unlink()
    (said,) = verify_confirmation(confirmation).differences
    fold = re.search(r"delete it and (\S+\.npz), and confirm again", said)[1]
    Path(fold).unlink()
    mer_search("confirm", "--seeds", "2", "--against", "V4")
    assert network.exists()
    assert verify_confirmation(confirmation).differences == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a fold that was turned round", "finals/trial-1 must give the study's UF1"),
        ("another configuration", "finals/trial-1/config.json must have the digest of its run"),
        ("a fold that is gone", r"finals/trial-1/folds lacks 1 fold, the first of them \d+-sub01.npz; .* trains them"),
    ],
)
def test_whatever_is_changed_in_the_finals_is_found(small, what, words):
    FOLD[what][0](small / "finals" / "trial-1")
    _found(verify_study(find_study(open_storage(URL), None)), words)


def _found(checked, words):
    assert any(re.search(words, line) for line in checked.differences), checked.differences
    assert all("; " in line and "\n" not in line for line in checked.differences)  # what to do, in one line each


def test_a_rival_that_was_confirmed_elsewhere_with_fewer_seeds_is_no_difference(small, confirmation):
    rival = next((small / "confirm").glob("against-*/folds")).parent
    shutil.copytree(rival, rival.with_name("a-copy"))
    for fold in rival.with_name("a-copy").glob("folds/1001-*"):
        fold.unlink()
    assert verify_confirmation(confirmation).differences == []


def test_a_folder_may_be_given_from_within_and_a_summary_nested_without_end_is_no_summary(confirmation, monkeypatch):
    monkeypatch.chdir(confirmation)
    for folder in (".", f"../{confirmation.name}"):
        assert mer_search("verify", folder).exit_code == 0
    assert "sub01" in mer_search("subjects", "rank", ".").stdout
    Path("summary.json").write_text("[" * 200_000)
    line = mer_search("verify", ".", code=1).stderr
    assert "must be a confirmation's summary" in line and "Traceback" not in line


def test_a_changed_figure_is_computed_anew_with_the_same_seeds(confirmation):
    path = confirmation / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gap": 0.5}))
    (line,) = verify_confirmation(confirmation).differences
    assert "gap is 0.5, but the predictions give" in line and " --seeds 2 --seed 1000` makes it anew" in line


def test_an_earlier_summary_without_baselines_in_pairs_agrees(confirmation):
    _summary(lambda s: (s.pop("against_baseline"), s.pop("given")))(confirmation)
    assert verify_confirmation(confirmation).differences == []


def test_the_other_subjects_of_a_comparison_have_its_order(confirmation):
    """Where databases are left out, subjects are not in the order of their names."""
    told = read_summary(confirmation / "summary.json").comparison
    turned = told.model_copy(update={"subjects": told.subjects[::-1]})
    scored = {name: name < "sub03" for name in told.subjects}
    assert verify._comparison(confirmation, turned, scored, "abc").other == ("sub04", "sub03")


def test_a_value_that_was_changed_in_the_study_and_a_folder_that_is_gone_are_found(small):
    storage = open_storage(URL)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trial_values SET value = value + 1e-12 WHERE trial_id = 1"))
    shutil.rmtree(small / "trial-0001")
    (small / "study.toml").write_text((small / "study.toml").read_text().replace("1e-3", "2e-3"))
    differences = mer_search("verify", code=1).stderr.splitlines()
    assert any("trial-0000: its predictions give UF1 0." in line for line in differences)
    assert any("trial-0001 must hold trial 1, but is not there" in line for line in differences)
    assert any("study.toml is not what it was when the study was made" in line for line in differences)


def test_trees_that_differ_in_their_last_bits_are_alike_and_nan_is_not():
    assert list(unlike("", {"a": [1.0, {"b": 0.1 + 0.2}]}, {"a": [1, {"b": 0.3}]})) == []
    assert len(list(unlike("", {"a": 0.5, "b": None, "c": 1.0}, {"a": float("nan"), "b": 1.0}))) == 3
