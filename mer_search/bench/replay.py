"""Replay: what a search would have found, without training, from a table of folds.

The sampler proposes, the nearest configuration that has not been tried yet is taken, its folds are looked up one after
the other, and the pruner decides how far it goes. Cost is counted in fold-epochs: an epoch of a fold. The search sees
one seed; the truth about a configuration is its UF1 with the other seeds, so that luck with the one does not count.
A table of four seeds or more keeps two of them for finals, and they are no part of the truth then. Shapes: M
configurations, R seeds, S subjects, E epochs, T trials, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.bench.fold_table import Table, Values
from mer_search.evaluation.metrics import Floats, uf1
from mer_search.search import pruner as pruners
from mer_search.search.finals import SEEDS
from mer_search.search.samplers import sampler
from mer_search.search.space import Axis, StudyFile


@dataclass(frozen=True)
class Strategy:
    """A way to search: who proposes, who is stopped, what is maximised, and how many have finals."""

    name: str
    sampler: str = "tpe"
    pruner: str = "none"  # in pruner.PRUNERS
    rule: str = "tail"
    objective: str = "uf1"  # or a measure of pruner.MEASURES
    finalists: int = 0


class Replayed(NamedTuple):
    """One replayed search: after each of its trials, T."""

    spent: NDArray[np.int64]  # (T,) fold-epochs so far, those of finals counted in that would follow
    truth: NDArray[np.float64]  # (T,) true UF1 of what would be chosen now
    ends: NDArray[np.bool_]  # (T,) whether the trial ran to its end


def replay(table: Table, file: StudyFile, strategy: Strategy, budget: int, repeat: int) -> Replayed:
    """Search the table once, until `budget` fold-epochs are spent or every configuration was tried.

    `repeat` decides the seed that is seen and every draw.
    """
    random = np.random.default_rng([repeat, 1])
    _, seeds, subjects = table.shape
    seen = int(random.integers(seeds))
    others = [(seen + place) % seeds for place in range(1, seeds)]
    further = others[:SEEDS] if table.has_finals else []
    by_seed = uf1(table.final(table.counts).sum(2))  # (M, R)
    truth = by_seed[:, others[len(further) :]].mean(1)  # (M,)
    value_of = _values(table, strategy)[:, seen]  # (M,)
    study = optuna.create_study(direction="maximize", sampler=sampler(strategy.sampler, int(random.integers(2**31))))
    space = _Space(table.values, file.axes)
    pruner = pruners.PRUNERS[strategy.pruner]
    best: int | None = None
    whole: list[int] = []  # configurations that ran to their end
    spent: list[int] = []
    truths: list[float] = []
    ends: list[bool] = []
    searched = 0  # fold-epochs of trials

    while len(spent) < len(table.values) and (not spent or spent[-1] < budget):
        asked = study.ask()
        m = space.take(file.suggest(asked))
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        rivals = None if best is None else (best, [other for other in whole[-pruners.MAX_OTHERS :] if other != best])
        ran = run_pruner(table, pruner, random.permutation(subjects).tolist(), (m, seen), rivals, seen)
        if ran.behind is None:
            whole.append(m)
            value = float(value_of[m])
            best = m if best is None or value > value_of[best] else best
        else:
            assert best is not None  # noqa: S101 (for the type checker: without an incumbent no trial is stopped)
            value = pruners.estimate(float(value_of[best]), ran.behind)
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(table.values[m]),
                distributions=space.distributions(m),
                value=value,
                constraints={"stopped early": ran.violation},  # as the live search marks estimates
            )
        )
        leaders = sorted(whole, key=lambda m: -value_of[m])[: strategy.finalists]
        chosen, cost = _finals(table, by_seed, leaders, [seen, *further]) if len(leaders) > 1 else (best, 0)
        searched += ran.spent
        spent.append(searched + cost)
        truths.append(truth[chosen])
        ends.append(ran.behind is None)
    return Replayed(np.array(spent), np.array(truths), np.array(ends))


def _values(table: Table, strategy: Strategy) -> Floats:
    """(M, R) what a strategy maximises."""
    if strategy.objective == "uf1":
        counts = {"tail": table.counts, "best_test_epoch": table.leaky}[strategy.rule]
        return np.asarray(uf1(table.final(counts).sum(2)))
    weights, rows = table.weights[strategy.objective], np.arange(len(table.values))
    return np.asarray(
        np.average(table.measures[strategy.objective][rows, :, :, table.epochs - 1], axis=2, weights=weights)
    )


def _finals(table: Table, by_seed: Floats, left: list[int], seeds: Sequence[int]) -> tuple[int, int]:
    """The configuration that wins the finals by its UF1 (M, R), and what they cost. The first seed has been seen
    before."""
    measure, cost = pruners.FINALS.measure, 0
    for used in range(1, len(seeds) + 1):
        so_far = list(seeds[:used])
        means = {m: float(by_seed[m, so_far].mean()) for m in left}
        scores = [
            np.mean([table.scores(measure, m, seed, int(table.epochs[m])) for seed in so_far], axis=0) for m in left
        ]
        left = [left[at] for at in pruners.still_in(list(means.values()), scores, table.weights[measure])]
        if len(left) < 2:
            break
        cost += table.shape[2] * int(table.epochs[left].sum()) * (used < len(seeds))
    return max(means, key=means.__getitem__), cost


def run_pruner(
    table: Table,
    pruner: pruners.Pruner,
    order: Sequence[int],
    trial: tuple[int, int],
    rivals: tuple[int, Sequence[int]] | None,
    seed: int,
) -> pruners.Outcome:
    """What a pruner makes of a trial among the table's configurations.

    Args:
        order: of the subjects.
        trial: a configuration and the seed that it is seen with.
        rivals: the best configuration and others that ran to their end; None while there is none.
        seed: that these are seen with.
    """
    weights = table.weights[pruner.measure]

    def scores(configuration: int, epochs: int, seed: int = seed) -> NDArray[np.float64]:
        return table.scores(pruner.measure, configuration, seed, epochs)

    def scored(epochs: int) -> NDArray[np.float64] | None:
        if rivals is None or not pruner.stops_some:
            return None
        best, others = rivals
        return np.array([scores(each, epochs) for each in (best, *others)])

    configuration, own_seed = trial
    steps = pruner.run(order, int(table.epochs[configuration]), scored, weights)
    need = next(steps)
    while True:
        try:
            need = steps.send(float(scores(configuration, need.epochs, own_seed)[need.subject]))
        except StopIteration as end:
            outcome: pruners.Outcome = end.value
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
