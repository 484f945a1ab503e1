import numpy as np
import pytest
import simulation

from mer_search.search import statistics
from mer_search.search.statistics import bbc, uf1_interval
from mer_search.training.metrics import confusion, uf1


def _trials(rng, skills, subjects=12, clips=8, classes=3):
    """(M, S, K, K): each trial guesses right with its own probability, else any class."""
    truth = rng.integers(classes, size=(subjects, clips))
    out = []
    for skill in skills:
        guess = np.where(rng.random(truth.shape) < skill, truth, rng.integers(classes, size=truth.shape))
        out.append([confusion(t, g, classes) for t, g in zip(truth, guess, strict=True)])
    return np.array(out)


def test_an_interval_holds_the_pooled_score_and_shrinks_with_more_subjects():
    rng = np.random.default_rng(0)
    few, many = _trials(rng, [0.6, 0.6], subjects=8), _trials(rng, [0.6, 0.6], subjects=80)
    for matrices in (few, many):
        low, high = uf1_interval(matrices)
        assert low < uf1(matrices.sum(1)).mean() < high
    assert np.ptp(uf1_interval(many)) < 0.6 * np.ptp(uf1_interval(few))


def test_equal_subjects_leave_no_interval():
    matrices = np.tile(np.array([[3, 1], [1, 3]]), (2, 6, 1, 1))
    low, high = uf1_interval(matrices)
    assert low == high == uf1(matrices.sum(1)).mean()


def test_the_best_of_many_equals_is_too_good_and_bbc_corrects_it():
    rng, naive, corrected, truth = np.random.default_rng(1), [], [], []
    for _ in range(20):
        matrices = _trials(rng, [0.4] * 30)
        naive.append(uf1(matrices.sum(1)).max())
        corrected.append(bbc(matrices)[0])
        truth.append(uf1(matrices.sum((0, 1))))  # 30 equal trials together say what each is worth
    assert np.mean(naive) - np.mean(truth) > 0.05
    assert abs(np.mean(corrected) - np.mean(truth)) < 0.03


@pytest.fixture(scope="module")
def simulated():
    """Searches by 30 nearly equal trials on 26 people, the best of them confirmed on 16 others with three seeds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(statistics, "REPEATS", 400)
        return simulation.simulate(STUDIES, 26, 16, spread=0.1)


STUDIES = 300
NOISE = 2.6 * np.sqrt(0.95 * 0.05 / STUDIES)  # a true 95 % falls lower in 1 of 200 simulations


def test_the_interval_on_unsearched_people_covers_the_truth_as_often_as_it_claims(simulated):
    found = simulated["unsearched"]
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
