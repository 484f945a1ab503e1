"""Replay: what a search would have found, without training, from a table of folds.

The sampler proposes, the nearest configuration that has not been tried yet is taken, its folds are looked up one after
the other, and the race decides how far it goes. Cost is counted in fold-epochs: one epoch of one fold. The search sees
one seed; the truth about a configuration is its UF1 with the other seeds, so that luck with the one does not count.
Shapes: M configurations, R seeds, S subjects, E epochs, T trials, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.search import race as races
from mer_search.search.fold_table import Table, Values
from mer_search.search.samplers import sampler
from mer_search.search.space import Axis, StudyFile
from mer_search.training.metrics import uf1


@dataclass(frozen=True)
class Strategy:
    """A way to search: who proposes, who is stopped, and what is maximised."""

    name: str
    sampler: str = "tpe"
    race: str = "none"  # in race.RACES
    rule: str = "tail"


class Replayed(NamedTuple):
    """One replayed search: after each of its trials, T."""

    spent: NDArray[np.int64]  # (T,) fold-epochs so far
    truth: NDArray[np.float64]  # (T,) true UF1 of the best so far
    ends: NDArray[np.bool_]  # (T,) whether the trial ran to its end


def replay(table: Table, file: StudyFile, strategy: Strategy, budget: int, repeat: int) -> Replayed:
    """Search the table once, until `budget` fold-epochs are spent or every configuration was tried.

    `repeat` decides the seed that is seen and every draw.
    """
    random = np.random.default_rng([repeat, 1])
    _, seeds, subjects = table.shape
    seen = int(random.integers(seeds))
    others = [seed for seed in range(seeds) if seed != seen]
    truth = uf1(table.final(table.counts).sum(2))[:, others].mean(1)  # (M,)
    counts = {"tail": table.counts, "best_test_epoch": table.leaky}[strategy.rule][:, seen]  # (M, S, E, K, K)
    study = optuna.create_study(direction="maximize", sampler=sampler(strategy.sampler, int(random.integers(2**31))))
    space = _Space(table.values, file.axes)
    race = races.RACES[strategy.race]
    best: int | None = None
    whole: list[int] = []  # configurations that ran to their end
    best_value = -1.0
    spent: list[int] = []
    truths: list[float] = []
    ends: list[bool] = []

    while len(spent) < len(table.values) and (not spent or spent[-1] < budget):
        asked = study.ask()
        m = space.take(file.suggest(asked))
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        others = [other for other in whole[-races.RECENT :] if other != best]
        rivals = None if best is None else (best, others)
        ran = run_race(table, race, random.permutation(subjects).tolist(), (m, seen), rivals, seen)
        if ran.behind is None:
            whole.append(m)
            value = float(uf1(counts[m, :, ran.epochs - 1].sum(0)))
            if value > best_value:
                best, best_value = m, value
        else:
            value = races.estimate(best_value, ran.behind)
        study.add_trial(
            optuna.trial.create_trial(params=dict(table.values[m]), distributions=space.distributions(m), value=value)
        )
        spent.append(ran.spent + (spent[-1] if spent else 0))
        truths.append(truth[best] if best is not None else 0.0)
        ends.append(ran.behind is None)
    return Replayed(np.array(spent), np.array(truths), np.array(ends))


def run_race(
    table: Table,
    race: races.Race,
    order: Sequence[int],
    trial: tuple[int, int],
    rivals: tuple[int, Sequence[int]] | None,
    seed: int,
) -> races.Outcome:
    """The outcome of a race among the table's configurations.

    Args:
        order: of the subjects.
        trial: a configuration and the seed that it is seen with.
        rivals: the best configuration and others that ran to their end; None while there is none.
        seed: that these are seen with.
    """
    weights = table.weights[race.measure]

    def scores(configuration: int, epochs: int, seed: int = seed) -> NDArray[np.float64]:
        return table.scores(race.measure, configuration, seed, epochs)

    def incumbent(epochs: int) -> races.Incumbent | None:
        if rivals is None or not race.stops_some:
            return None
        best, others = rivals
        return races.incumbent_of(scores(best, epochs), [scores(other, epochs) for other in others], weights)

    configuration, own_seed = trial
    steps = race.run(order, int(table.epochs[configuration]), incumbent, weights)
    need = next(steps)
    while True:
        try:
            need = steps.send(float(scores(configuration, need.epochs, own_seed)[need.subject]))
        except StopIteration as end:
            outcome: races.Outcome = end.value
            return outcome


class _Space:
    """The table's configurations as points of the study's space; each is taken once."""

    def __init__(self, values: Sequence[Values], axes: Sequence[Axis]) -> None:
        self.values, self.axes = values, axes
        self.left = np.ones(len(values), bool)
        self.points = np.stack([self._point(each) for each in values])  # (M, coordinates)

    def take(self, proposed: Values) -> int:
        """The number of the nearest configuration that is left."""
        distance = np.abs(self.points - self._point(proposed)).sum(1)
        nearest = int(np.where(self.left, distance, np.inf).argmin())
        self.left[nearest] = False
        return nearest

    def _point(self, values: Values) -> NDArray[np.float64]:
        """Every axis has length 1: an interval its place, a choice half a step for each of its values."""
        coordinates: list[float] = []
        for axis in self.axes:
            value = values.get(axis.key)
            if axis.kind == "choice":
                coordinates += [0.5 * (value == choice) for choice in axis.values]
                continue
            low, high = (np.log(axis.values) if axis.log else np.array(axis.values, float)).tolist()
            here = low if value is None else float(np.log(value)) if axis.log else float(value)
            coordinates.append((here - low) / (high - low))
        return np.array(coordinates)

    def distributions(self, m: int) -> dict[str, optuna.distributions.BaseDistribution]:
        """The axes that a configuration has values on, as Optuna knows them."""
        return {axis.key: axis.distribution for axis in self.axes if axis.key in self.values[m]}
