"""Whole databases left out: what is trained on, what is reported, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import STUDY, silent, write_casme2, write_flow_images

import mer_search as mer
from mer_search.config import with_values
from mer_search.confirmation.confirm import Confirmation
from mer_search.confirmation.target import Target
from mer_search.errors import UsageError
from mer_search.evaluation import baselines
from mer_search.evaluation.metrics import best_test_epoch
from mer_search.evaluation.predictions import Predictions, load, save
from mer_search.search import space
from mer_search.search.workspace import load_data
from mer_search.training.fold_store import load_by_subject
from mer_search.training.loop import train_fold

BY_DATABASE = {"data.leave_out": "database"}
VALUES = space.parse(STUDY, "small").settings | {"train.lr": 5e-3}


@pytest.fixture
def mixed(tmp_path):
    """Flow images of two databases: sub01, sub02 and sub05 of CASME II, s03 and s04 of SMIC."""
    write_flow_images(tmp_path / "flow", 5)
    for number in (3, 4):
        (tmp_path / "flow" / f"sub{number:02d}").rename(tmp_path / "flow" / f"s{number:02d}")
    return tmp_path / "flow"


@pytest.fixture
def loaded(mixed):
    return load_data(mixed, with_values(space.parse(STUDY, "small").base, BY_DATABASE), silent)


def test_a_fold_trains_on_no_clip_of_the_database_that_it_tests(loaded):
    trained = train_fold(loaded.run, loaded.tensors, "smic", 0)
    assert {clip.split("/")[0] for clip in trained.predictions.clips} == {"s03", "s04"}
    own = torch.tensor([fold == "smic" for fold in loaded.folds])
    flow, labels = loaded.tensors.flow.clone(), loaded.tensors.labels.clone()
    flow[own], labels[own] = 0, 2
    disturbed = train_fold(loaded.run, loaded.tensors._replace(flow=flow, labels=labels), "smic", 0)
    for name, weights in trained.network.state_dict().items():
        torch.testing.assert_close(weights, disturbed.network.state_dict()[name], rtol=0, atol=0)
    flow = loaded.tensors.flow.clone()
    flow[~own] = 0
    other = train_fold(loaded.run, loaded.tensors._replace(flow=flow), "smic", 0).network.state_dict()
    assert any(not torch.equal(weights, other[name]) for name, weights in trained.network.state_dict().items())


def test_epochs_are_chosen_by_subjects_of_the_other_databases(loaded):
    trained = train_fold(with_values(loaded.run, {"train.val_subjects": 1}), loaded.tensors, "smic", 0)
    assert trained.predictions.val_log_likelihood is not None
    with pytest.raises(UsageError, match="two of the 2 subjects that a fold does not test"):
        load_data(loaded.folder.path, with_values(loaded.run, {"train.val_subjects": 1}), silent)


def test_baselines_never_saw_the_database_either(loaded):
    own = np.array([fold == "smic" for fold in loaded.folds])
    arguments = loaded.motion, loaded.labels, loaded.folds
    plain = baselines.predict("logistic_regression", *arguments)
    labels = np.where(own, 2, loaded.labels)
    assert (baselines.predict("logistic_regression", loaded.motion, labels, loaded.folds)[own] == plain[own]).all()


def test_the_published_rule_picks_one_epoch_of_a_whole_database(tmp_path):
    probs = np.zeros((2, 4, 2), np.float16)
    probs[0, :, 0] = 1  # the first epoch has a's clips right, and half of b's
    probs[1, [0, 1, 2], 0] = probs[1, 3, 1] = 1  # the second has all of them right
    fold = Predictions(0, "smic", ("a/x", "a/y", "b/x", "b/y"), np.array([0, 0, 0, 1]), probs)
    save(tmp_path / "0-smic.npz", fold)
    one, other = load(tmp_path / "0-smic.npz").by_subject()
    assert (one.subject, one.fold, one.clips, other.subject) == ("a", "smic", ("a/x", "a/y"), "b")
    np.testing.assert_array_equal(best_test_epoch(other), probs[1, 2:])
    np.testing.assert_array_equal(best_test_epoch(one), probs[1, :2])  # alone, it would have picked the first: equal
    switched = replace(fold, probabilities=probs[::-1])
    first, second = switched.by_subject()
    np.testing.assert_array_equal(np.vstack([best_test_epoch(first), best_test_epoch(second)]), probs[1])
    alone = replace(fold, subject="a", clips=fold.clips[:2], labels=fold.labels[:2], probabilities=probs[:, :2])
    assert alone.by_subject() == [alone]


def test_a_confirmation_reports_by_subject_and_database(mixed, mer_search):
    result = mer.confirm("V4", values=VALUES, data=mixed, seeds=2, leave_out="database", device="cpu")
    summary = result.summary
    assert summary.protocol == "leave-one-database-out, counts pooled over databases"
    assert (summary.left_out, "on the test database would add" in result.table()) == ("database", True)
    assert summary.databases == {"casme2": ("sub01", "sub02", "sub05"), "smic": ("s03", "s04")}
    assert (summary.n_clips, summary.n_subjects, summary.tail.ci95 is None) == (30, 5, False)
    assert sorted(path.name for path in (result.folder / "folds").glob("*.npz")) == [
        f"{seed}-{name}.npz" for seed in (1000, 1001) for name in ("casme2", "smic")
    ]
    assert {fold.subject for fold in result.predictions} == {"sub01", "sub02", "sub05", "s03", "s04"}
    rows = (result.folder / "published.csv").read_text().splitlines()[1:]
    epochs = {(row.split(",")[0], row.split(",")[1][:2]): set() for row in rows}
    for row in rows:
        epochs[row.split(",")[0], row.split(",")[1][:2]].add(row.split(",")[3])
    assert all(len(each) == 1 for each in epochs.values())  # one epoch a fold
    (said,) = mer.predict(result, ["s03/sub03_EP00"], device="cpu")
    assert said.networks == ("smic",)
    assert mer.load_network(result, "sub02")[1].data.leave_out == "database"
    plain = mer.confirm("V4", values=VALUES, data=mixed, seeds=2, device="cpu")
    assert plain.folder != result.folder and plain.summary.protocol.startswith("leave-one-subject-out")
    assert len(list(result.folder.parent.glob("baselines-*.json"))) == 2  # each protocol has its own


def test_one_database_may_be_tested_alone(mixed, mer_search):
    result = mer.confirm("V4", values=VALUES, data=mixed, seeds=1, subjects="smic", leave_out="database", device="cpu")
    assert (result.summary.n_subjects, result.folder.name.split("-1-")[1].split("-")[0]) == (2, "databases")
    with pytest.raises(UsageError, match="'sub01' is none of casme2, smic"):
        mer.confirm("V4", values=VALUES, data=mixed, subjects="sub01", leave_out="database", device="cpu")


def test_a_search_scores_databases_and_its_confirmation_verifies(mixed, mer_search, tmp_path):
    (tmp_path / "small.toml").write_text(STUDY)

    def call(*words, code=0):
        done = mer_search(*words)
        assert done.exit_code == code, done.output
        return done.stderr if code else done.stdout

    call("run", "--study", "small.toml", "--data", mixed, "--leave-out", "database")
    assert "3 complete" in call("run", "--study", "small.toml", "--data", mixed)  # on databases, as before
    refused = call("run", "--study", "small.toml", "--data", mixed, "--leave-out", "subject", code=1)
    assert "made with another kind of folds (database there, subject here)" in " ".join(refused.split())
    out = json.loads(call("confirm", "--trial", "0", "--seeds", "1", "--json"))
    assert (out["n_tuning"], out["protocol"][:22]) == (5, "leave-one-database-out")
    assert len(load_by_subject(tmp_path / "runs" / "small" / "confirm" / "trial-0")) == 5
    call("report")
    log = tmp_path / "runs" / "small" / "confirm" / "trial-0" / "megc_log.txt"
    ours, theirs = mer.score(log), mer.score(log.rename(tmp_path / "elsewhere.txt"))
    assert (list(ours.rules), ours.names["1"], ours.rules["tail"].leaks) == (["tail"], "positive", False)
    assert ours.rules["tail"].uf1 == pytest.approx(out["rules"]["tail"]["all"]["averaged"]["uf1"])
    assert (list(theirs.rules), theirs.names, theirs.rules["as_given"].leaks) == (["as_given"], {}, None)
    (tmp_path / "elsewhere.txt").rename(log)
    other = json.loads(call("confirm", "--trial", "0", "--seeds", "1", "--leave-out", "subject", "--json"))
    assert other["protocol"].startswith("leave-one-subject-out") and other["n_tuning"] == 5
    assert other["uf1_bbc"] is None and out["uf1_bbc"]  # of the search's own folds alone
    call("confirm", "--trial", "1", "--seeds", "1", "--subjects", "smic", "--against", "none")
    (part,) = (tmp_path / "runs" / "small" / "confirm").glob("trial-1-1-databases-*")
    assert [row["subject"] for row in json.loads(call("subjects", "rank", part, "--json"))]
    compared = call("compare", "0", "1", "--seeds", "1", "--json")
    assert len(json.loads(compared)["subjects"]) == 5
    call("verify")
    path = log.with_name("summary.json")
    kept = json.loads(path.read_text())
    earlier = {name: value for name, value in kept.items() if name not in ("given", "tuning_by_database")}
    for summary, code in ((kept, 0), (earlier, 0), (kept | {"tuning_by_database": {"casme2": 3, "smic": 0}}, 1)):
        path.write_text(json.dumps(summary))
        assert ("tuning_by_database.smic is 0" in call("verify", log.parent, code=code)) == bool(code)


def test_folds_of_two_kinds_are_not_compared_and_one_database_is_not_left_out(loaded, tmp_path):
    write_casme2(tmp_path / "casme2")
    with pytest.raises(UsageError, match=r"needs clips of two databases, but .* has those of casme2; put the folders"):
        load_data(tmp_path / "casme2", with_values(mer.Run(), {**BY_DATABASE, "flow.size": 32}), silent)
    job = Confirmation(Target(loaded.run, "V4", tmp_path), loaded, ("casme2", "smic"), (0,))
    assert (job.is_whole, job.subjects[:3]) == (True, ("sub01", "sub02", "sub05"))
