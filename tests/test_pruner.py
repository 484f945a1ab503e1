import numpy as np
import optuna
import pytest

from mer_search.evaluation.metrics import confusion, mean_log, tail, uar
from mer_search.evaluation.predictions import Predictions
from mer_search.search import pruner as pruners


def test_the_order_is_a_permutation_that_depends_on_seed_and_trial():
    orders = [pruners.subject_order(10, 0, trial) for trial in range(5)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert pruners.subject_order(10, 0, 3) == orders[3] != pruners.subject_order(10, 1, 3)


def test_an_estimate_is_the_best_trials_score_less_what_one_lies_behind():
    assert pruners.estimate(0.6, 0.1) == pytest.approx(0.5)
    assert pruners.estimate(0.1, 0.4) == 0


def test_a_pruner_is_lost_where_a_wilcoxon_test_says_so():
    random = np.random.default_rng(0)
    best = random.normal(-1, 0.3, 10)
    worse = best - random.uniform(0.1, 0.5, 10)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.WilcoxonPruner(p_threshold=0.1))
    study.add_trial(optuna.create_trial(value=1, intermediate_values=dict(enumerate(best))))
    trial = study.ask()
    for seen in range(1, 11):
        trial.report(worse[seen - 1], seen - 1)
        expected = seen >= pruners.STARTUP_FOLDS and trial.should_prune()
        assert pruners.Pruner(p=0.1).is_inferior(worse[:seen], best[:seen], np.ones(seen), None) == expected
    assert pruners.Pruner(p=0.1).is_inferior(worse, best, np.ones(10), None)


def test_a_pruner_is_lost_by_more_than_so_many_standard_errors():
    weights = np.array([1.0, 2.0, 4.0, 1.0])
    spread, pruner = 0.08, pruners.Pruner(errors=2.0)
    error = (spread / weights.sum()) ** 0.5  # of the weighted mean: each person's variance is spread / weight
    best = np.array([0.5, 0.6, 0.4, 0.7])
    for behind, lost in ((1.98 * error, False), (2.02 * error, True)):
        assert pruner.is_inferior(best - behind, best, weights, spread) == lost
    assert not pruner.is_inferior(best - 1, best, weights, None)  # before differences have a known spread
    assert not pruner.is_inferior(best[:1] - 1, best[:1], weights[:1], spread)  # nobody is judged on one person


def test_the_spread_is_that_of_persons_and_blind_to_a_mean_difference():
    random = np.random.default_rng(0)
    weights = random.uniform(1, 5, 400)
    best = random.uniform(0.2, 0.6, 400)
    noise = random.normal(0, 0.3, (6, 400)) / weights**0.5
    others = best + noise + np.linspace(-0.5, 0, 6)[:, None]
    assert pruners.difference_variance(list(others), best, weights) == pytest.approx(0.09, rel=0.1)
    assert pruners.difference_variance([others[0]], best, weights) is None


def test_recall_is_what_guesses_drawn_from_the_probabilities_would_reach():
    labels = np.array([0, 0, 0, 1, 0, 1])
    random = np.random.default_rng(0)
    chances = random.dirichlet(np.ones(2), 6)
    measure = pruners.MEASURES["recall"]
    worth = measure.class_weights(labels, 2)
    people = [np.array([0, 1, 3]), np.array([2, 4, 5])]
    weights = [worth[labels[own]].sum() for own in people]
    scores = [measure.of(chances[own], labels[own], worth) for own in people]
    drawn = (random.uniform(size=(20000, 6)) < chances[:, 1]).astype(int)
    expected = np.mean([uar(confusion(labels, each, 2)) for each in drawn])
    assert np.average(scores, weights=weights) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", ["rank", "hits"])
def test_some_measures_do_not_see_how_flat_probabilities_are(name):
    random, labels = np.random.default_rng(0), np.array([0, 0, 1, 2, 1, 2, 2])
    sharp = random.dirichlet(np.ones(3), (4, 7))
    flat = sharp**0.3 / (sharp**0.3).sum(-1, keepdims=True)
    measure, other = pruners.MEASURES[name], pruners.MEASURES["recall"]
    weights = measure.class_weights(labels, 3)
    np.testing.assert_allclose(measure.of(sharp, labels, weights), measure.of(flat, labels, weights))
    assert (other.of(sharp, labels, weights) != other.of(flat, labels, weights)).all()


def test_hits_are_the_uar_and_ranks_lie_between():
    labels = np.array([0, 0, 1, 2])
    chances = np.array([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    found = {name: pruners.MEASURES[name] for name in ("hits", "rank")}
    scores = {name: each.of(chances, labels, each.class_weights(labels, 3)) for name, each in found.items()}
    assert scores["hits"] == pytest.approx(uar(confusion(labels, chances.argmax(1), 3)))
    assert scores["rank"] == pytest.approx(((1 + 0.5) / 2 + 0.5 + 1) / 3)
    tied = np.full((1, 3), 1 / 3)
    assert found["rank"].of(tied, labels[:1], np.ones(3)) == pytest.approx(0.5)


def test_likelihood_is_the_metric_of_that_name():
    random = np.random.default_rng(0)
    fold = Predictions(0, "s", ("c",) * 5, random.integers(3, size=5), random.dirichlet(np.ones(3), (4, 5)))
    measure = pruners.MEASURES["likelihood"]
    score = measure.of(tail(fold), fold.labels, measure.class_weights(fold.labels, 3))
    assert score == pytest.approx(mean_log(tail(fold), fold.labels))


@pytest.mark.parametrize("pruner", [pruners.Pruner(), pruners.Pruner(p=0.1), pruners.Pruner(errors=0.1)])
def test_nobody_loses_against_oneself_or_somebody_worse(pruner):
    own = np.linspace(-2, -0.1, 10)
    assert not pruner.is_inferior(own, own, np.ones(10), 1e-9)
    assert not pruner.is_inferior(own, own - 0.2, np.ones(10), 1e-9)


def _ran(pruner, own, best, others=(), epochs=8):
    """The outcome of a pruner with these scores (S, E)."""

    def rivals(until):
        return np.array([each[:, until - 1] for each in (best, *others)])

    steps = pruner.run(range(5), epochs, rivals, np.ones(5))
    need = next(steps)
    while True:
        try:
            need = steps.send(own[need.subject, need.epochs - 1])
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("pruner", "own", "expected"),
    [
        (pruners.Pruner(), -2.0, (40, False, 5, 8)),
        (pruners.Pruner(p=0.2), -1.0, (40, False, 5, 8)),
        (pruners.Pruner(p=0.2), -2.0, (24, True, 3, 8)),  # three folds of eight epochs
        (pruners.Pruner(errors=2.0), -2.0, (16, True, 2, 8)),  # two
        (pruners.Pruner(errors=2.0), -1.1, (40, False, 5, 8)),
        (pruners.Pruner(p=0.2, rungs=(0.25, 1.0)), -2.0, (6, True, 3, 2)),  # three folds of two
        (pruners.Pruner(p=0.2, rungs=(0.25, 1.0), after_all=True), -2.0, (10, True, 5, 2)),  # all folds of two
        (pruners.Pruner(p=0.2, rungs=(0.25, 1.0)), -1.0, (40, False, 5, 8)),  # a rung costs nothing twice
    ],
)
def test_a_pruner_spends_the_folds_and_epochs_that_it_needs(pruner, own, expected):
    hardness = np.arange(5)[:, None]
    others = [np.full((5, 8), -1.0) - hardness + shift * np.cos(hardness) for shift in (-0.2, 0.2)]
    ran = _ran(pruner, np.full((5, 8), own) - hardness, np.full((5, 8), -1.0) - hardness, others)
    assert (ran.spent, ran.behind is not None, len(ran.subjects), ran.epochs) == expected
    if ran.behind is not None:
        assert ran.behind == pytest.approx(1.0)


def test_a_plan_is_what_a_race_asks_for_that_stops_nobody():
    pruner = pruners.Pruner(rungs=(0.25, 0.5, 1.0))
    steps, asked = pruner.run([2, 0, 1], 8, lambda until: None, np.ones(3)), []
    asked.append(next(steps))
    while len(asked) < 9:
        asked.append(steps.send(0.0))
    assert asked == pruner.plan([2, 0, 1], 8)
    assert pruners.Pruner(rungs=(0.25, 1.0)).plan([0, 1], 1) == [(0, 1), (1, 1)]  # of one epoch there is no quarter


def test_a_rung_compares_at_the_same_epoch():
    late = np.tile(np.linspace(-3, 0, 8), (5, 1)) - np.arange(5)[:, None]  # (S, E): learns slowly, ends better
    early = np.tile(np.linspace(-1, -1, 8), (5, 1)) - np.arange(5)[:, None]
    assert _ran(pruners.Pruner(p=0.2, rungs=(0.5, 1.0)), late, early).behind is not None
    assert _ran(pruners.Pruner(p=0.2), late, early).behind is None
