import json
from dataclasses import replace
from pathlib import Path

import fake_table
import fold_table
import numpy as np
import pytest
import replays
from click.testing import CliRunner
from replays import STRATEGIES, Strategy, facts, replay, tournament, wrongly_stopped
from small import STUDY, one_line

from mer_search.evaluation.metrics import best_test_epoch, fold_confusion, mean_log, tail
from mer_search.evaluation.predictions import Predictions
from mer_search.search import pruner as pruners
from mer_search.search import space
from mer_search.training.fold_store import load_folds

WHOLE = 10 * fake_table.EPOCHS  # fold-epochs of a trial that runs to its end


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    """A study, and a table of it whose best learning rate is known."""
    path = tmp_path_factory.mktemp("table") / "demo.npz"
    file = fake_table.write(path, seeds=4)
    return file, fold_table.load(path, file)


def test_a_table_scores_prefixes_as_the_rules_do(tmp_path):
    random = np.random.default_rng(3)
    file = space.load("demo")
    chances = random.dirichlet(np.ones(5), (2, 2, 6, 9)).astype(np.float16)  # (M, R, E, N, K)
    labels, owner = random.integers(5, size=9), np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])
    fold_table.pack(tmp_path / "t.npz", fold_table.drawn(file, 2), labels, owner, chances)
    table = fold_table.load(tmp_path / "t.npz", file)
    for s in range(3):
        own = owner == s
        for until in range(1, 7):
            fold = Predictions(0, "s", ("c",) * own.sum(), labels[own], chances[1, 0, :until][:, own])
            at = (1, 0, s, until - 1)
            np.testing.assert_array_equal(table.counts[at], fold_confusion(fold, tail))
            np.testing.assert_array_equal(table.leaky[at].trace(), fold_confusion(fold, best_test_epoch).trace())
            assert table.measures["likelihood"][at] == pytest.approx(mean_log(tail(fold), fold.labels), abs=2e-3)
            for name, measure in pruners.MEASURES.items():
                score = measure.of(tail(fold), fold.labels, measure.class_weights(labels, 5))
                assert table.measures[name][at] == pytest.approx(score, abs=2e-3)


def test_fewer_epochs_are_configurations_of_their_own(tmp_path):
    file = space.load("megc2019")
    values = fold_table.drawn(file, 3)
    assert {each["train.epochs"] for each in values} == {30}
    assert values[0]["train.lr"] == 8e-4  # the study's first trial
    chances = np.full((3, 2, 30, 4, 3), 1 / 3)
    fold_table.pack(tmp_path / "t.npz", values, np.zeros(4, int), np.arange(4), chances)
    table = fold_table.load(tmp_path / "t.npz", file)
    assert table.epochs.tolist() == [10, 20, 30] * 3
    assert [each["train.epochs"] for each in table.values] == [10, 20, 30] * 3


def test_a_search_without_pruning_pays_for_every_epoch(fake):
    file, table = fake
    spent, _ = replay(table, file, Strategy("random"), 10**9, 0)
    assert spent.tolist() == [WHOLE * (trial + 1) for trial in range(len(table.values))]  # each once, then it ends


@pytest.mark.parametrize("strategy", [each for each in STRATEGIES if each.sampler != "gp"], ids=lambda each: each.name)
def test_every_strategy_stays_within_its_budget_but_for_its_last_trial(fake, strategy):
    file, table = fake
    budget = 5 * WHOLE  # less than stopping early leaves of 30 configurations
    spent, truth = replay(table, file, strategy, budget, 1)
    finals = strategy.finalists * 2 * WHOLE
    assert spent[-2] < budget <= spent[-1] < budget + WHOLE + 1 + finals
    np.testing.assert_array_equal(truth, replay(table, file, strategy, budget, 1)[1])


@pytest.mark.parametrize("finalists", [0, 3])
def test_the_truth_is_of_a_seed_that_neither_the_search_nor_its_finals_saw(fake, finalists):
    file, table = fake
    blind = replace(table, counts=table.counts.copy())
    seen = int(np.random.default_rng([4, 1]).integers(4))
    blind.counts[:, (seen + 3) % 4] = np.eye(5, dtype=np.int32)  # all right
    _, truth = replay(blind, file, Strategy("random", finalists=finalists), 10 * WHOLE, 4)
    assert (truth == 1).all()


def test_finals_cost_what_they_train(fake):
    file, table = fake
    alone, with_finals = Strategy("random"), Strategy("random", finalists=3)
    for repeat in range(12):
        (one, _), (more, _) = (replay(table, file, each, 20 * WHOLE, repeat) for each in (alone, with_finals))
        shared = min(len(one), len(more))
        dearer = more[:shared] - one[:shared]
        assert dearer[0] == 0
        assert set(dearer[3:] // WHOLE) <= {0, 2, 3, 4, 5, 6}  # for each seed, of those still in


def test_a_table_of_two_seeds_has_no_finals(fake, tmp_path):
    file, _ = fake
    fake_table.write(tmp_path / "demo.npz")
    table = fold_table.load(tmp_path / "demo.npz", file)
    found = tournament(table, file, [Strategy("random"), Strategy("tpe", finalists=3)], 4, 2, lambda *_: None)
    assert [result.strategy.name for result in found] == ["random, no pruner"]


def test_a_pruner_finds_as_much_for_less_and_a_model_finds_more_than_chance(fake):
    file, table = fake
    strategies = [Strategy("random"), Strategy("random", "recall"), Strategy("tpe")]
    plain, pruned, model = tournament(table, file, strategies, 8, 12, lambda done, total: None)
    assert plain.spent.mean() == 1
    assert pruned.spent.mean() < 0.8
    assert pruned.same_trials.mean() > plain.same_trials.mean() - 0.03
    assert pruned.found.mean() >= plain.found.mean()
    assert model.found.mean() >= plain.found.mean()
    rows = facts(table, [model, replace(pruned, same_trials=plain.same_trials + 0.1), plain])
    assert json.dumps(rows)
    assert sum(row["rank"]["mean"] for row in rows) == pytest.approx(6)
    assert all(row["regret"] >= 0 for row in rows)
    of = {row["strategy"]: row for row in rows}
    assert of["random, no pruner"]["equals_stopped"] == 0
    assert of["random, recall"]["against_unpruned"]["mean"] == pytest.approx(0.1)


def test_a_smaller_p_stops_fewer_equals(fake):
    _, table = fake
    for strictness in ([{"p": p} for p in (0.2, 0.05, 0.0)], [{"errors": errors} for errors in (1.0, 2.0, 9.0)]):
        shares = [wrongly_stopped(table, pruners.Pruner(**each), repeats=4) for each in strictness]
        assert shares[0] > shares[1] > shares[2] == 0


def test_a_table_is_trained_once_and_gone_on_with(make_search, executor, tmp_path, monkeypatch):
    search = make_search(STUDY)
    seen = []
    path = fold_table.build(search, executor, 2, 2, tmp_path / "small", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (16, 16)
    assert fold_table.study_of(path, "demo").digest == search.file.digest
    path.with_suffix(".toml").rename(tmp_path / "other.toml")
    assert fold_table.study_of(path, "demo").digest == space.load("demo").digest
    table = fold_table.load(path, search.file)
    assert table.counts.shape == (2, 2, 4, 2, 3, 3)
    folds = load_folds(tmp_path / "small/0001")
    expected = [fold_confusion(folds[1, subject], tail) for subject in search.subjects]
    np.testing.assert_array_equal(table.final(table.counts)[1, 1], expected)
    monkeypatch.setattr(executor, "submit", lambda task: pytest.fail("trained"))
    fold_table.build(search, executor, 2, 2, tmp_path / "small", lambda done, total: None)


@pytest.mark.parametrize(
    ("study", "configurations", "seeds", "epochs"), [("demo", 40, 4, {10}), ("megc2019", 72, 4, {10, 20, 30})]
)
def test_the_tables_that_come_with_the_package_are_of_their_studies(study, configurations, seeds, epochs):
    path = fold_table.shipped(study)
    file = fold_table.study_of(path, "no other")
    table = fold_table.load(path, file)
    assert table.shape == (configurations, seeds, 10)
    assert set(table.epochs.tolist()) == epochs
    trained = fold_table.drawn(file, configurations // len(epochs))
    assert [dict(each) | {"train.epochs": max(epochs)} for each in table.values[:: len(epochs)]] == trained
    _, truth = replay(table, file, Strategy(file.sampler, file.pruner), 3000, 0)
    assert 0.1 < truth[-1] < 0.9


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function (arguments) of `python benchmarks/replays.py` -> what came of it."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(replays.main, list(map(str, arguments)))


def test_a_tournament_is_replayed_from_a_table_that_is_given(script, tmp_path):
    fake_table.write(tmp_path / "fake.npz", configurations=12)
    asked = ["search", "--table", "fake.npz", "--trials", 4, "--repeats", 2, "--only", "random, recall"]
    rows = json.loads(script(*asked, "--json").stdout)
    assert {"random, no pruner", "random, recall"} <= {row["strategy"] for row in rows}
    result = script(*asked)
    assert "12 configurations" in result.stdout and "A new study" not in result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    one_line(script("search", "--table", "none.npz"), 1, "there is no none.npz", "replays.py table")


def test_a_study_file_in_another_folder_leaves_its_table_in_out(script, tmp_path, monkeypatch, flow_folder):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/small.toml").write_text(STUDY)
    asked = []
    monkeypatch.setattr(fold_table, "build", lambda *given: asked.append(given[4]))
    done = script("table", "--study", "there/small.toml", "--data", flow_folder, "--out", "replay")
    assert done.exit_code == 0, done.output
    assert asked == [Path("replay/small")]
