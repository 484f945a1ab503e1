import numpy as np
import optuna
import pytest

from mer_search.search import racing
from mer_search.training.metrics import uf1


def _matrix(right, wrong):
    return np.array([[right, wrong], [wrong, right]])


def test_the_order_is_a_permutation_that_depends_on_the_trial():
    subjects = [f"s{k}" for k in range(10)]
    orders = [racing.order(subjects, 0, trial) for trial in range(5)]
    assert all(sorted(order) == subjects for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert racing.order(subjects, 0, 3) == orders[3]


def test_an_estimate_is_corrected_for_the_difficulty_of_the_folds_seen():
    incumbent = {"easy": _matrix(9, 1), "hard": _matrix(5, 5)}
    full = float(uf1(incumbent["easy"] + incumbent["hard"]))
    on_the_easy = racing.estimate({"easy": _matrix(8, 2)}, {"easy": incumbent["easy"]}, incumbent)
    assert on_the_easy == pytest.approx(full - 0.1)  # .8 there, where the incumbent has .9
    assert racing.estimate({"hard": _matrix(4, 6)}, {"hard": incumbent["hard"]}, incumbent) == pytest.approx(full - 0.1)


def test_an_estimate_stays_between_zero_and_the_incumbent():
    incumbent = {"a": _matrix(5, 5), "b": _matrix(6, 4)}
    full = float(uf1(incumbent["a"] + incumbent["b"]))
    assert racing.estimate({"a": _matrix(9, 1)}, {"a": incumbent["a"]}, incumbent) < full
    assert racing.estimate({"b": _matrix(0, 10)}, {"b": incumbent["b"]}, incumbent) == 0


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
        assert racing.Race(0.1).loses(worse[:seen], best[:seen]) == expected
    assert racing.Race(0.1).loses(worse, best)


@pytest.mark.parametrize("race", [racing.Race(), racing.Race(0.1)])
def test_nobody_loses_against_oneself_or_somebody_worse(race):
    own = np.linspace(-2, -0.1, 10)
    assert not race.loses(own, own)
    assert not race.loses(own, own - 0.2)


def _ran(race, own, best, epochs=8):
    shape = (5, epochs)
    return race.run(
        range(5), epochs, np.full(shape, own) - np.arange(5)[:, None], np.full(shape, best) - np.arange(5)[:, None]
    )


@pytest.mark.parametrize(
    ("race", "own", "expected"),
    [
        (racing.Race(), -2.0, (40, True, 5, 8)),
        (racing.Race(0.2), -1.0, (40, True, 5, 8)),
        (racing.Race(0.2), -2.0, (24, False, 3, 8)),  # three folds of eight epochs
        (racing.Race(0.2, (0.25, 1.0)), -2.0, (6, False, 3, 2)),  # three folds of two
        (racing.Race(0.2, (0.25, 1.0), after_all=True), -2.0, (10, False, 5, 2)),  # all folds of two
        (racing.Race(0.2, (0.25, 1.0)), -1.0, (40, True, 5, 8)),  # a rung costs nothing twice
    ],
)
def test_a_race_spends_the_folds_and_epochs_that_it_needs(race, own, expected):
    ran = _ran(race, own, -1.0)
    assert (ran.spent, ran.ended, len(ran.subjects), ran.epochs) == expected


def test_a_rung_compares_at_the_same_epoch():
    late = np.tile(np.linspace(-3, 0, 8), (5, 1)) - np.arange(5)[:, None]  # (S, E): learns slowly, ends better
    early = np.tile(np.linspace(-1, -1, 8), (5, 1)) - np.arange(5)[:, None]
    assert not racing.Race(0.2, (0.5, 1.0)).run(range(5), 8, late, early).ended
    assert racing.Race(0.2).run(range(5), 8, late, early).ended
