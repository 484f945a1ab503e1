import numpy as np
import optuna
import pytest

from mer_search.search import racing
from mer_search.training.metrics import confusion, log_likelihood, tail, uar
from mer_search.training.predictions import Predictions


def test_the_order_is_a_permutation_that_depends_on_the_trial():
    subjects = [f"s{k}" for k in range(10)]
    orders = [racing.order(subjects, 0, trial) for trial in range(5)]
    assert all(sorted(order) == subjects for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert racing.order(subjects, 0, 3) == orders[3]


def test_an_estimate_is_the_best_trials_score_less_what_one_lies_behind():
    best, weights = np.array([0.9, 0.5]), np.array([1.0, 3.0])
    assert racing.estimate(0.6, best - 0.1, best, weights) == pytest.approx(0.5)  # whoever is easy
    assert racing.estimate(0.6, best - [0.0, 0.2], best, weights) == pytest.approx(0.6 - 0.15)
    assert racing.estimate(0.1, best - 0.4, best, weights) == 0


def test_a_race_is_lost_where_a_wilcoxon_test_says_so():
    random = np.random.default_rng(0)
    best = random.normal(-1, 0.3, 10)
    worse = best - random.uniform(0.1, 0.5, 10)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.WilcoxonPruner(p_threshold=0.1))
    study.add_trial(optuna.create_trial(value=1, intermediate_values=dict(enumerate(best))))
    trial = study.ask()
    for seen in range(1, 11):
        trial.report(worse[seen - 1], seen - 1)
        expected = seen >= racing.STARTUP_FOLDS and trial.should_prune()
        assert racing.Race(p=0.1).loses(worse[:seen], best[:seen], np.ones(seen), None) == expected
    assert racing.Race(p=0.1).loses(worse, best, np.ones(10), None)


def test_a_race_is_lost_by_more_than_so_many_standard_errors():
    weights = np.array([1.0, 2.0, 4.0, 1.0])
    spread, race = 0.08, racing.Race(errors=2.0)
    error = (spread / weights.sum()) ** 0.5  # of the weighted mean: each person's variance is spread / weight
    best = np.array([0.5, 0.6, 0.4, 0.7])
    for behind, lost in ((1.98 * error, False), (2.02 * error, True)):
        assert race.loses(best - behind, best, weights, spread) == lost
    assert not race.loses(best - 1, best, weights, None)  # before differences have a known spread
    assert not race.loses(best[:1] - 1, best[:1], weights[:1], spread)  # nobody is judged on one person


def test_the_spread_is_that_of_persons_and_blind_to_a_mean_difference():
    random = np.random.default_rng(0)
    weights = random.uniform(1, 5, 400)
    best = random.uniform(0.2, 0.6, 400)
    noise = random.normal(0, 0.3, (6, 400)) / weights**0.5
    others = best + noise + np.linspace(-0.5, 0, 6)[:, None]
    assert racing.spread(list(others), best, weights) == pytest.approx(0.09, rel=0.1)
    assert racing.spread([others[0]], best, weights) is None


def test_recall_is_what_guesses_drawn_from_the_probabilities_would_reach():
    labels = np.array([0, 0, 0, 1, 0, 1])
    random = np.random.default_rng(0)
    chances = random.dirichlet(np.ones(2), 6)
    measure = racing.MEASURES["recall"]
    worth = measure.worth(labels, 2)
    people = [np.array([0, 1, 3]), np.array([2, 4, 5])]
    weights = [worth[labels[own]].sum() for own in people]
    scores = [measure.of(chances[own], labels[own], worth) for own in people]
    drawn = (random.uniform(size=(20000, 6)) < chances[:, 1]).astype(int)
    expected = np.mean([uar(confusion(labels, each, 2)) for each in drawn])
    assert np.average(scores, weights=weights) == pytest.approx(expected, abs=0.01)


def test_likelihood_is_the_metric_of_that_name():
    random = np.random.default_rng(0)
    fold = Predictions(0, "s", ("c",) * 5, random.integers(3, size=5), random.dirichlet(np.ones(3), (4, 5)))
    measure = racing.MEASURES["likelihood"]
    score = measure.of(tail(fold), fold.labels, measure.worth(fold.labels, 3))
    assert score == pytest.approx(log_likelihood(fold, tail))


@pytest.mark.parametrize("race", [racing.Race(), racing.Race(p=0.1), racing.Race(errors=0.1)])
def test_nobody_loses_against_oneself_or_somebody_worse(race):
    own = np.linspace(-2, -0.1, 10)
    assert not race.loses(own, own, np.ones(10), 1e-9)
    assert not race.loses(own, own - 0.2, np.ones(10), 1e-9)


def _ran(race, own, best, epochs=8):
    shape = (5, epochs)
    hardness = np.arange(5)[:, None]
    others = [np.full(shape, best) - hardness + shift * np.cos(hardness) for shift in (-0.2, 0.2)]
    own, best = np.full(shape, own) - hardness, np.full(shape, best) - hardness
    return race.run(range(5), epochs, own, best, others, np.ones(5))


@pytest.mark.parametrize(
    ("race", "own", "expected"),
    [
        (racing.Race(), -2.0, (40, True, 5, 8)),
        (racing.Race(p=0.2), -1.0, (40, True, 5, 8)),
        (racing.Race(p=0.2), -2.0, (24, False, 3, 8)),  # three folds of eight epochs
        (racing.Race(errors=2.0), -2.0, (16, False, 2, 8)),  # two
        (racing.Race(errors=2.0), -1.1, (40, True, 5, 8)),
        (racing.Race(p=0.2, rungs=(0.25, 1.0)), -2.0, (6, False, 3, 2)),  # three folds of two
        (racing.Race(p=0.2, rungs=(0.25, 1.0), after_all=True), -2.0, (10, False, 5, 2)),  # all folds of two
        (racing.Race(p=0.2, rungs=(0.25, 1.0)), -1.0, (40, True, 5, 8)),  # a rung costs nothing twice
    ],
)
def test_a_race_spends_the_folds_and_epochs_that_it_needs(race, own, expected):
    ran = _ran(race, own, -1.0)
    assert (ran.spent, ran.ended, len(ran.subjects), ran.epochs) == expected


def test_a_rung_compares_at_the_same_epoch():
    late = np.tile(np.linspace(-3, 0, 8), (5, 1)) - np.arange(5)[:, None]  # (S, E): learns slowly, ends better
    early = np.tile(np.linspace(-1, -1, 8), (5, 1)) - np.arange(5)[:, None]
    assert not racing.Race(p=0.2, rungs=(0.5, 1.0)).run(range(5), 8, late, early, [], np.ones(5)).ended
    assert racing.Race(p=0.2).run(range(5), 8, late, early, [], np.ones(5)).ended
