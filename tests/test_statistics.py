import itertools

import numpy as np
import pytest
import simulation
from scipy.stats import spearmanr, t

from mer_search.evaluation import statistics
from mer_search.evaluation.metrics import confusion, uf1
from mer_search.evaluation.statistics import (
    bbc,
    cross_fit,
    holm,
    paired_interval,
    permutation_p,
    rank_correlation,
    uf1_interval,
)


def _trials(rng, skills, subjects=12, clips=8, classes=3):
    """(M, S, K, K): each trial guesses right with its own probability, else any class."""
    truth = rng.integers(classes, size=(subjects, clips))
    out = []
    for skill in skills:
        guess = np.where(rng.random(truth.shape) < skill, truth, rng.integers(classes, size=truth.shape))
        out.append([confusion(t, g, classes) for t, g in zip(truth, guess, strict=True)])
    return np.array(out)


def test_the_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    one = rng.normal(size=12)
    other = (one + rng.normal(size=12)).round(1)  # with ties
    found, (low, high) = rank_correlation(one, other)
    assert found == pytest.approx(spearmanr(one, other).statistic)
    assert low < found < high


@pytest.mark.parametrize(
    "matrices",
    [
        np.tile(np.array([[3, 1], [1, 3]]), (2, 6, 1, 1)),  # equal subjects
        np.array([[[[3, 1], [1, 3]]]]),  # one
        np.array([[[[3, 0], [0, 3]], [[2, 0], [0, 1]]]]),  # UF1 of 1
        np.array([[[[0, 3], [3, 0]], [[0, 1], [2, 0]]]]),  # UF1 of 0
    ],
)
def test_what_cannot_be_estimated_has_no_interval_rather_than_one_of_width_zero(matrices):
    assert uf1_interval(matrices) is None


def test_a_class_that_one_subject_alone_has_keeps_its_place_when_that_subject_is_left_out():
    """Else that subject would tell nothing of the class, and the interval would be too narrow."""
    matrices = np.array([[[[4, 0, 0], [1, 3, 0], [0, 0, 0]]] * 5 + [[[2, 2, 0], [0, 4, 0], [1, 0, 3]]]])
    without = statistics._without_each(matrices)
    assert without[:5] == pytest.approx(without[0])
    two = uf1(matrices[0, :5].sum(0)[:2, :2])
    assert without[5] == pytest.approx(2 / 3 * two)
    low, high = uf1_interval(matrices)
    assert high - low > 0.5


def test_what_clips_are_taken_for_and_has_none_itself_makes_no_subject_weigh_more():
    matrices = np.array([[[[k, 1, 3 - k], [1, 3, 0], [0, 0, 0]] for k in range(4)]])
    without, counts = np.array([0.4, 0.5, 0.6, 0.5]), (matrices.sum(-1) + matrices.sum(-2))[0, :, :2]
    weights = (counts / counts.sum(0) ** 2).sum(1)
    people, error = weights.sum() ** 2 / (weights**2).sum(), np.sqrt(3 * without.var())
    assert statistics._reach(without, matrices) == pytest.approx(t.ppf(0.975, people - 1) * error)


def test_cross_fitting_scores_each_half_by_the_trial_that_is_best_on_the_other():
    good, bad = np.array([[4, 0], [0, 4]]), np.array([[0, 4], [4, 0]])
    first, second = np.array([good, bad, good, bad]), np.array([bad, good, bad, bad])
    found = cross_fit(np.stack([first, second]))
    np.testing.assert_array_equal(found[[0, 2]], second[[0, 2]])  # the second is best on subjects 1 and 3
    np.testing.assert_array_equal(found[[1, 3]], first[[1, 3]])


def test_holm_corrects_for_how_many_were_compared():
    assert holm([0.04]) == [0.04]
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("correct", "repeats", "off"),
    [(lambda matrices: uf1(cross_fit(matrices).sum(0)), 60, 0.02), (lambda matrices: bbc(matrices)[0], 20, 0.03)],
    ids=["cross-fitting", "BBC"],
)
def test_the_best_of_many_equals_is_too_good_and_is_corrected(correct, repeats, off):
    rng, naive, corrected, truth = np.random.default_rng(1), [], [], []
    for _ in range(repeats):
        matrices = _trials(rng, [0.4] * 30)
        naive.append(uf1(matrices.sum(1)).max())
        corrected.append(correct(matrices))
        truth.append(uf1(matrices.sum((0, 1))))  # 30 equal trials together say what each is worth
    assert np.mean(naive) - np.mean(truth) > 0.05
    assert abs(np.mean(corrected) - np.mean(truth)) < off


def _pair(rng, skills, subjects, clips=6, seeds=2, classes=3):
    """Two networks' matrices (M, S, K, K): subjects are as hard, and luck mostly the same, for both."""
    truth = rng.integers(classes, size=(subjects, clips))
    ease = rng.normal(size=(subjects, 1))
    luck = rng.random((seeds, subjects, clips))
    wrong = (truth + rng.integers(1, classes, size=luck.shape)) % classes
    networks = []
    for skill in skills:
        own = np.where(rng.random(luck.shape) < 0.2, rng.random(luck.shape), luck)
        guesses = np.where(own < 1 / (1 + np.exp(-skill - ease)), truth, wrong)
        networks.append(
            np.array([[confusion(t, g, classes) for t, g in zip(truth, guess, strict=True)] for guess in guesses])
        )
    return networks


def _difference(first, second):
    return uf1(first.sum(1)).mean() - uf1(second.sum(1)).mean()


def test_a_network_and_itself_have_no_difference_at_all():
    first, _ = _pair(np.random.default_rng(0), (1.0, 1.0), 9)
    assert paired_interval(first, first) is None
    assert permutation_p(first, first) == 1
    assert permutation_p(*[np.tile(first, (1, 2, 1, 1))] * 2) == 1  # 18 subjects: random exchanges


def test_a_paired_interval_holds_the_difference_about_as_often_as_it_says():
    """95 % of the time, and misses to either side alike. Unpaired intervals miss less than 1 % of these pairs."""
    rng, skills = np.random.default_rng(0), (1.0, 0.4)
    truth = _difference(*_pair(rng, skills, 4000))
    intervals = np.array([paired_interval(*_pair(rng, skills, 40)) for _ in range(400)])
    assert 0.01 < (truth < intervals[:, 0]).mean() < 0.06
    assert 0.01 < (truth > intervals[:, 1]).mean() < 0.06


def test_a_paired_interval_of_the_second_against_the_first_is_the_negative():
    first, second = _pair(np.random.default_rng(0), (1.0, 0.4), 12)
    low, high = paired_interval(first, second)
    assert low < _difference(first, second) < high
    assert paired_interval(second, first) == pytest.approx((-high, -low))


def test_p_counts_all_exchanges_of_subjects():
    first, second = _pair(np.random.default_rng(1), (1.0, 0.4), 5)
    found = []
    for swapped in itertools.product([False, True], repeat=5):
        where = np.array(swapped)[None, :, None, None]
        found.append(_difference(np.where(where, second, first), np.where(where, first, second)))
    expected = np.mean(np.abs(found) >= abs(_difference(first, second)) - 1e-12)
    assert 2 / 32 < expected < 1
    assert permutation_p(first, second) == permutation_p(second, first) == expected


def test_p_of_equal_networks_is_uniform():
    """Within 0.03, and 0.05 in the middle, of the share that it stands for: at least three standard errors."""
    rng = np.random.default_rng(2)
    found = np.array([permutation_p(*_pair(rng, (1.0, 1.0), 8, clips=30, seeds=3)) for _ in range(1000)])
    for share in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9):
        assert (found <= share).mean() == pytest.approx(share, abs=0.03 if share < 0.2 else 0.05)


def test_random_exchanges_agree_with_all_of_them(monkeypatch):
    """10,000 of them: within 0.02, four standard errors of the least certain share."""
    rng = np.random.default_rng(4)
    pairs = [_pair(rng, (1.0, skill), 10) for skill in (1.0, 0.9, 0.7, 0.5)]
    exact = [permutation_p(*pair) for pair in pairs]
    monkeypatch.setattr(statistics, "EXACT", 0)
    random = [permutation_p(*pair) for pair in pairs]
    assert random != exact
    assert random == pytest.approx(exact, abs=0.02)
    assert max(exact) - min(exact) > 0.1


@pytest.fixture(scope="module")
def simulated():
    """Searches by 30 nearly equal trials on 26 people, the best of them confirmed on 16 others with three seeds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(statistics, "REPEATS", 400)
        return simulation.simulate(STUDIES, 26, 16, spread=0.1)


STUDIES = 300
NOISE = 2.6 * np.sqrt(0.95 * 0.05 / STUDIES)  # a true 95 % falls lower in 1 of 200 simulations


def test_the_interval_on_other_people_covers_the_truth_as_often_as_it_claims(simulated):
    found = simulated["other"]
    assert found["coverage"] == pytest.approx(0.95, abs=NOISE)
    assert abs(found["bias"]) < 0.02


def test_bbcs_interval_covers_the_truth_at_least_as_often_as_it_claims_and_its_score_is_not_too_good(simulated):
    found = simulated["bbc"]
    assert found["coverage"] >= 0.95 - NOISE
    assert -0.05 < found["bias"] < 0.01
    assert found["width"] < 0.4


def test_the_best_trials_own_interval_claims_too_much(simulated):
    found = simulated["naive"]
    assert found["coverage"] < 0.95 - 2 * NOISE
    assert found["bias"] > 0.05


@pytest.mark.parametrize(
    ("subjects", "classes"), [(10, simulation.FIVE), (10, simulation.THREE), (26, simulation.THREE)]
)
def test_an_interval_covers_the_truth_however_few_the_people_and_the_classes(subjects, classes):
    random, hits = np.random.default_rng(subjects), []
    for _ in range(STUDIES):
        population = simulation.Population(random, 0.5, classes)
        low, high = uf1_interval(population.meet(subjects)(np.zeros(3, int)))
        hits.append(low <= population.truth[0] <= high)
    assert np.mean(hits) == pytest.approx(0.95, abs=NOISE)


@pytest.mark.parametrize(("subjects", "spread"), [(10, 0.0), (16, 0.5), (26, 0.5)])
def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_claims(subjects, spread):
    """The percentile bootstrap covers it in 88, 90 and 91 %."""
    assert simulation.paired_coverage(STUDIES, subjects, spread) == pytest.approx(0.95, abs=NOISE)
