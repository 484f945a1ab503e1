"""How often intervals cover the truth, in studies whose truth is known.

    python benchmarks/simulation.py  # prints a table

The truth is a population of people: how many clips of each class someone has is a row of CASME II's table, how hard
someone is to read, and for which network, is drawn. A study sees S of them; a network's true UF1 is that of the whole
population. Shapes: M trials, S subjects, K classes.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit, ndtri

from mer_search.data.synthetic.dataset import COUNTS
from mer_search.evaluation.metrics import confusion, uf1
from mer_search.evaluation.statistics import bbc, paired_interval, uf1_interval
from mer_search.search.pruner import PRUNERS

FIVE = np.array(list(COUNTS.values()))  # (26, 5) clips of each class
THREE = np.stack([FIVE[:, [1, 2]].sum(1), FIVE[:, 0], FIVE[:, 3]], axis=1)  # as MEGC 2019: negative, positive, surprise
THREE = THREE[THREE.any(1)]
WHOLE = ndtri((np.arange(2000) + 0.5) / 2000)  # the population's hardness, evenly from the easiest to the hardest
SUBJECT, TASTE, SEED = 0.7, 0.3, 0.5  # sd, in logits: of people, of people for a network, of a fold's seed
TRIALS = 30
SEEDS = 3


class Population:
    """M networks and the people that they judge.

    Args:
        random: where everything is drawn from.
        spread: sd of the networks' skill, in logits; 0.1 makes their true UF1 differ by .02.
        table: clips of each class (people, K).
    """

    def __init__(self, random: np.random.Generator, spread: float, table: np.ndarray) -> None:
        self.random, self.table = random, table
        share = table.sum(0) / table.sum()
        self.ease = 0.5 * (np.log(share) - np.log(share).mean())  # (K,) frequent classes are easier
        self.skill = 0.3 + spread * random.standard_normal(TRIALS)
        self.wrong = share * (1 - np.eye(len(share)))
        self.wrong /= self.wrong.sum(1, keepdims=True)  # (K, K) what a wrong clip is taken for
        whole = WHOLE * np.hypot(np.hypot(SUBJECT, TASTE), SEED)
        right = np.stack([expit(skill + self.ease[:, None] + whole).mean(1) for skill in self.skill])[..., None]
        self.truth = uf1(share[:, None] * (right * np.eye(len(share)) + (1 - right) * self.wrong))  # (M,)

    def meet(self, subjects: int) -> Callable[[np.ndarray], np.ndarray]:
        """Draw people; returns a function networks -> their confusion matrices there (networks, S, K, K), new seeds."""
        clips = self.table[self.random.integers(len(self.table), size=subjects)]
        hardness = SUBJECT * self.random.standard_normal(subjects)
        taste = TASTE * self.random.standard_normal((TRIALS, subjects))

        def judge(networks: np.ndarray) -> np.ndarray:
            seed = SEED * self.random.standard_normal((len(networks), subjects))
            logit = self.skill[networks, None] + hardness + taste[networks] + seed
            right = self.random.binomial(clips, expit(logit[..., None] + self.ease))
            matrices = self.random.multinomial(clips - right, self.wrong)
            matrices[..., range(len(self.ease)), range(len(self.ease))] += right
            return matrices

        return judge


def simulate(repeats: int, tuning: int, other: int, spread: float, table: np.ndarray = FIVE) -> dict[str, dict]:
    """Search on some people, confirm with new seeds on others, and compare what is said with the truth.

    Returns:
        By `naive` (the best trial's own score), `bbc`, `pruned` (`bbc` of the trials that a pruner did not stop) and
        `other`: how often the interval covers the truth of the chosen network, how much the score exceeds it on
        average, and the interval's mean width.
    """
    random, orders = np.random.default_rng([repeats, tuning, other]), np.random.default_rng(repeats)
    found: dict[str, list[tuple[float, float, float]]] = {"naive": [], "bbc": [], "pruned": [], "other": []}
    for _ in range(repeats):
        population = Population(random, spread, table)
        trials = population.meet(tuning)(np.arange(TRIALS))
        best = int(uf1(trials.sum(1)).argmax())
        again = population.meet(other)(np.full(SEEDS, best))
        left = not_stopped(trials, orders)
        survivor = left[uf1(trials[left].sum(1)).argmax()]
        said = {
            "naive": (best, float(uf1(trials[best].sum(0))), uf1_interval(trials[best][None])),
            "bbc": (best, *bbc(trials)),
            "pruned": (survivor, *bbc(trials[left])),
            "other": (best, float(uf1(again.sum(1)).mean()), uf1_interval(again)),
        }
        for name, (network, score, interval) in said.items():
            truth, (low, high) = population.truth[network], interval or (1.0, 0.0)  # what has none covers nothing
            found[name].append((low <= truth <= high, score - truth, high - low))
    return {
        name: dict(zip(("coverage", "bias", "width"), np.mean(rows, axis=0), strict=True))
        for name, rows in found.items()
    }


def not_stopped(trials: np.ndarray, random: np.random.Generator) -> list[int]:
    """The trials (M, S, K, K), one after the other, that the pruner `recall` does not stop."""
    clips = np.maximum(trials[0].sum((0, 2)), 1)  # (K,) of each class
    weights = (trials[0].sum(-1) / clips).sum(-1)  # (S,)
    recall = (np.diagonal(trials, axis1=-2, axis2=-1) / clips).sum(-1) / weights  # (M, S)
    uf1s, ended = uf1(trials.sum(1)), list[int]()
    for number, own in enumerate(recall):
        rivals = recall[sorted(ended, key=lambda each: -uf1s[each])] if ended else None
        race = PRUNERS["recall"].run(list(random.permutation(len(own))), 1, lambda epochs, it=rivals: it, weights)
        need = next(race)
        try:
            while True:
                need = race.send(own[need.subject])
        except StopIteration as end:
            ended += [number] * (end.value.behind is None)
    return ended


def trained_coverage(repeats: int, subjects: int, table: np.ndarray, features: int = 60) -> tuple[float, float, float]:
    """What the interval covers where each fold trains a classifier of its own, by ridge regression, on other people.

    Returns:
        how often the truth of the classifier that is trained on all, how often that of a mean study, and how much the
        score exceeds the first on average. Each person has an offset in all features.
    """
    random, n_classes = np.random.default_rng([repeats, subjects, len(table)]), table.shape[1]
    centres = random.standard_normal((n_classes, features)) * 2 / np.sqrt(features)

    def draw(people: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, classes and people of clips."""
        clips = table[random.integers(len(table), size=people)]
        owner = np.repeat(np.arange(people), clips.sum(1))
        labels = np.concatenate([np.repeat(np.arange(n_classes), row) for row in clips])
        strength = np.exp(0.4 * random.standard_normal(people))[owner, None]
        offset = SUBJECT * random.standard_normal((people, features))[owner]
        return centres[labels] * strength + offset + random.standard_normal((len(labels), features)), labels, owner

    def matrices(train: Sequence[np.ndarray], test: Sequence[np.ndarray]) -> np.ndarray:
        mean, targets = train[0].mean(0), np.eye(n_classes)[train[1]]
        moved = train[0] - mean
        ridge = moved.T @ moved + 0.3 * len(moved) * np.eye(features)
        weights = np.linalg.solve(ridge, moved.T @ (targets - targets.mean(0)))
        return confusion(test[1], ((test[0] - mean) @ weights + targets.mean(0)).argmax(1), n_classes)

    world, rows = draw(1500), []
    for _ in range(repeats):
        clips = draw(subjects)
        tests = [clips[2] == subject for subject in range(subjects)]
        tested = np.array([matrices([each[~test] for each in clips], [each[test] for each in clips]) for test in tests])
        score, interval = float(uf1(tested.sum(0))), uf1_interval(tested[None]) or (1.0, 0.0)
        rows.append((float(uf1(matrices(clips, world))), score, *interval))
    truth, score, low, high = np.array(rows).T
    covers = [float(((low <= true) & (true <= high)).mean()) for true in (truth, truth.mean())]
    return (*covers, float((score - truth).mean()))


def paired_coverage(repeats: int, subjects: int, spread: float, table: np.ndarray = FIVE) -> float:
    """How often the interval of the difference between two networks, three seeds each, covers the truth."""
    random, hits = np.random.default_rng([repeats, subjects, len(table)]), []
    for _ in range(repeats):
        population = Population(random, spread, table)
        first, second = np.split(population.meet(subjects)(np.repeat([0, 1], SEEDS)), 2)
        low, high = paired_interval(first, second) or (1.0, -1.0)
        hits.append(low <= population.truth[0] - population.truth[1] <= high)
    return float(np.mean(hits))


def main() -> None:
    """The table: two numbers of classes, two of people, and trials from all equal to very different."""
    for table, classes in ((FIVE, 5), (THREE, 3)):
        for subjects in (10, 16, 26):
            for spread in (0.0, 0.5):
                covered = paired_coverage(500, subjects, spread, table)
                print(
                    f"{classes} classes  {subjects} people  spread {spread}  difference coverage {covered:.3f}",
                    flush=True,
                )
        for subjects in (10, 16, 26):
            whole, mean, bias = trained_coverage(500, subjects, table)
            print(
                f"{classes} classes  {subjects} people  trained in each fold  coverage {whole:.3f} of what is trained "
                f"on all, {mean:.3f} of a mean study  bias {bias:+.3f}",
                flush=True,
            )
    for table, classes in ((FIVE, 5), (THREE, 3)):
        for tuning, other in ((10, 16), (26, 26)):
            for spread in (0.0, 0.1, 0.3, 1.0):
                for name, row in simulate(400, tuning, other, spread, table).items():
                    numbers = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
                    people = other if name == "other" else tuning
                    print(f"{classes} classes  {people} people  spread {spread}  {name:10}  {numbers}", flush=True)


if __name__ == "__main__":
    main()
