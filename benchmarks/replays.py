"""Replays of searches: what a search would have found, without training, from a table of folds.

    python benchmarks/replays.py search --study demo  # what each sampler and pruner finds at equal cost
    python benchmarks/replays.py table --study demo   # trains such a table anew

The sampler proposes, the nearest configuration that has not been tried yet is taken, its folds are looked up one after
the other, and the pruner decides how far it goes. Cost is counted in fold-epochs: an epoch of a fold. The search sees
one seed; the truth about a configuration is its UF1 with the other seeds, so that luck with the one does not count.
A table of four seeds or more keeps two of them for finals, and they are no part of the truth then. What wins a
tournament of strategies is the default. Shapes: M configurations, R seeds, S subjects, E epochs, T trials, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import Any

import click
import fold_table
import numpy as np
import optuna
from fold_table import Table, Values
from numpy.typing import NDArray
from scipy.stats import rankdata

from mer_search.cli.options import PATH, Commands, Given, example, options
from mer_search.evaluation.metrics import Floats, Ints
from mer_search.evaluation.statistics import REPEATS
from mer_search.report import terminal
from mer_search.report.document import Table as Shown
from mer_search.search import pruner as pruners
from mer_search.search import space
from mer_search.search.finals import SEEDS
from mer_search.search.samplers import sampler
from mer_search.search.space import Axis, StudyFile
from mer_search.search.storage import check_name
from mer_search.search.trial import Search
from mer_search.search.workspace import find_data, load_data


@dataclass(frozen=True)
class Strategy:
    """A way to search: who proposes, who is stopped, what is maximised, and how many have finals."""

    sampler: str
    pruner: str = "none"  # in pruner.PRUNERS
    rule: str = "tail"
    objective: str = "uf1"  # or a measure of pruner.MEASURES
    finalists: int = 0

    @property
    def name(self) -> str:
        """What is not as usual: "tpe, recall-rungs, by recall, 3 finalists"."""
        published = "published rule" if self.rule == "best_test_epoch" else ""
        by = "" if self.objective == "uf1" else f"by {self.objective}"
        finalists = f"{self.finalists} finalists" if self.finalists else ""
        pruner = "no pruner" if self.pruner == "none" else self.pruner
        return ", ".join(filter(None, (self.sampler, pruner, published, by, finalists)))


YARDSTICK = Strategy("random")
STRATEGIES = (
    YARDSTICK,
    *(Strategy("random", pruner) for pruner in pruners.PRUNERS if pruner != "none"),
    *(Strategy("tpe", pruner) for pruner in pruners.PRUNERS),
    Strategy("qmc"),
    Strategy("gp"),
    Strategy("gp", "recall"),
    Strategy("tpe", rule="best_test_epoch"),
    *(Strategy("tpe", "rank-rungs", finalists=k) for k in (2, 3, 5)),
    Strategy("tpe", "recall-rungs", finalists=3),
    Strategy("tpe", "recall-rungs", objective="recall"),
    Strategy("tpe", "recall-rungs", objective="recall", finalists=3),
    Strategy("random", finalists=3),
)
BEFORE = 10  # trials that have run to their end, in what is asked about equals
TOP_SHARE = 0.25  # share of the configurations, the best, among which equals are sought: a best trial is one of these


def replay(table: Table, file: StudyFile, strategy: Strategy, budget: int, repeat: int) -> tuple[Ints, Floats]:
    """Search the table once, until `budget` fold-epochs are spent or every configuration was tried.

    `repeat` decides the seed that is seen and every draw.

    Returns:
        after each trial: fold-epochs so far (T,), those of finals counted in that would follow, and the true UF1 (T,)
        of what would be chosen now.
    """
    random = np.random.default_rng([repeat, 1])
    _, seeds, subjects = table.shape
    seen = int(random.integers(seeds))
    others = [(seen + place) % seeds for place in range(1, seeds)]
    further = others[:SEEDS] if table.has_finals else []
    by_seed = table.uf1(table.counts)  # (M, R)
    truth = by_seed[:, others[len(further) :]].mean(1)  # (M,)
    value_of = _values(table, strategy)[:, seen]  # (M,)
    study = optuna.create_study(direction="maximize", sampler=sampler(strategy.sampler, int(random.integers(2**31))))
    space = _Space(table.values, file.axes)
    pruner = pruners.PRUNERS[strategy.pruner]
    best: int | None = None
    whole: list[int] = []  # configurations that ran to their end
    spent, truths = list[int](), list[float]()
    searched = 0  # fold-epochs of trials

    while len(spent) < len(table.values) and (not spent or spent[-1] < budget):
        asked = study.ask()
        m = space.take(file.suggest(asked))
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        rivals = [] if best is None else [best, *(other for other in whole[-pruners.MAX_OTHERS :] if other != best)]
        ran = run_pruner(table, pruner, random.permutation(subjects).tolist(), (m, seen), rivals, seen)
        if ran.behind is None:
            whole.append(m)
            value = float(value_of[m])
            best = m if best is None or value > value_of[best] else best
        else:
            assert best is not None
            value = pruners.estimate(float(value_of[best]), ran.behind)
        told = optuna.trial.create_trial(
            params=dict(table.values[m]), distributions=space.distributions(m), value=value,
            constraints={"stopped early": ran.violation},  # as the live search marks estimates
        )  # fmt: skip
        study.add_trial(told)
        leaders = sorted(whole, key=lambda m: -value_of[m])[: strategy.finalists]
        chosen, cost = _finals(table, by_seed, leaders, [seen, *further]) if len(leaders) > 1 else (best, 0)
        searched += ran.spent
        spent.append(searched + cost)
        truths.append(truth[chosen])
    return np.array(spent), np.array(truths)


def _values(table: Table, strategy: Strategy) -> Floats:
    """(M, R) what a strategy maximises."""
    if strategy.objective == "uf1":
        return table.uf1({"tail": table.counts, "best_test_epoch": table.leaky}[strategy.rule])
    measured = table.final(table.measures[strategy.objective])
    return np.asarray(np.average(measured, axis=2, weights=table.weights[strategy.objective]))


def _finals(table: Table, by_seed: Floats, left: list[int], seeds: Sequence[int]) -> tuple[int, int]:
    """The configuration that wins the finals by its UF1 (M, R), and what they cost. The first seed has been seen
    before."""
    measure, cost = pruners.FINALS.measure, 0
    for used in range(1, len(seeds) + 1):
        so_far = list(seeds[:used])
        means = {m: float(by_seed[m, so_far].mean()) for m in left}
        scores = table.final(table.measures[measure])[left][:, so_far].mean(1)  # of those left (m, S)
        left = [left[at] for at in pruners.still_in(list(means.values()), scores, table.weights[measure])]
        if len(left) < 2:
            break
        cost += table.shape[2] * int(table.epochs[left].sum()) * (used < len(seeds))
    return max(means, key=means.__getitem__), cost


def run_pruner(
    table: Table, pruner: pruners.Pruner, order: Sequence[int], trial: tuple[int, int], rivals: Sequence[int], seed: int
) -> pruners.Outcome:
    """What a pruner makes of a trial, a configuration of the table and the seed that it is seen with, which meets the
    subjects in this order. `rivals` are the best configuration, and then others that ran to their end, which are seen
    with `seed`; none at first."""
    weights = table.weights[pruner.measure]

    def scored(epochs: int) -> Floats | None:
        scores = [table.scores(pruner.measure, rival, seed, epochs) for rival in rivals]
        return np.array(scores) if scores else None

    configuration, own_seed = trial
    steps = pruner.run(order, int(table.epochs[configuration]), scored, weights)
    need = next(steps)
    while True:
        try:
            scores = table.scores(pruner.measure, configuration, own_seed, need.epochs)
            need = steps.send(float(scores[need.subject]))
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


@dataclass(frozen=True)
class Result:
    """How a strategy did over R repeats."""

    strategy: Strategy
    found: NDArray[np.float64]  # (R,) true UF1 of what it chose at equal cost
    spent: NDArray[np.float64]  # (R,) cost of as many trials as the yardstick's, as a share of the yardstick's
    same_trials: NDArray[np.float64]  # (R,) true UF1 of what it chose after as many trials


def tournament(
    table: Table, file: StudyFile, strategies: Sequence[Strategy], trials: int, repeats: int,
    on_repeat: Callable[[int, int], None],
) -> list[Result]:  # fmt: skip
    """Replay every strategy `repeats` times, at the cost of so many trials that run to their end. They are paired:
    repeat r sees the same seed in all."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # each of thousands of studies would tell of its making
    subjects = table.shape[2]
    budget = round(trials * subjects * float(table.epochs.mean()))
    results = []
    strategies = [strategy for strategy in strategies if table.has_finals or not strategy.finalists]
    for place, strategy in enumerate(strategies):
        runs = []
        for repeat in range(repeats):
            spent, truth = replay(table, file, strategy, budget, repeat)
            affordable = max(1, int(np.searchsorted(spent, budget, side="right")))
            enough = min(trials, len(spent))
            runs.append((truth[affordable - 1], spent[enough - 1] / budget, truth[enough - 1]))
            on_repeat(place * repeats + repeat + 1, len(strategies) * repeats)
        results.append(Result(strategy, *np.array(runs).T))
    return results


def wrongly_stopped(table: Table, pruner: pruners.Pruner, repeats: int = 20) -> float:
    """How often a pruner stops a trial that equals the best: the same configuration, with another seed.

    Over the best quarter of the configurations and all pairs of seeds, each `repeats` times in another order. As many
    others, drawn from all configurations, have run to their end as in a search of some length.
    """
    truth = table.uf1(table.counts).mean(1)
    good = np.argsort(-truth)[: max(1, round(TOP_SHARE * len(truth)))]
    random = np.random.default_rng(0)
    configurations, seeds, subjects = table.shape
    stopped = []
    for m, (own, best), _ in product(good.tolist(), permutations(range(seeds), 2), range(repeats)):
        order = random.permutation(subjects).tolist()
        others = random.choice(configurations, min(BEFORE, configurations), replace=False)
        rivals = [m, *(other for other in others.tolist() if other != m)]
        stopped.append(run_pruner(table, pruner, order, (m, own), rivals, best).behind is not None)
    return float(np.mean(stopped))


def facts(table: Table, results: Sequence[Result]) -> list[dict[str, Any]]:
    """The tournament as one JSON document, the best first.

    Means over repeats with 95 % bootstrap intervals over repeats; `rank` is the mean rank at equal cost, 1 the best;
    `against_yardstick` and `against_unpruned` (the same sampler, no trial stopped) are paired differences in true UF1.
    """
    best = float(table.uf1(table.counts).mean(1).max())
    ranks = rankdata([-result.found for result in results], axis=0)  # (strategies, R); equals share theirs
    plain = [each for each in reversed(results) if each.strategy.pruner == "none"]
    unpruned = {(each.strategy.sampler, each.strategy.rule): each for each in plain}
    rows = []
    for result, rank in zip(results, ranks, strict=True):
        strategy = result.strategy
        same = unpruned.get((strategy.sampler, strategy.rule), result)
        rows.append(
            {
                "strategy": strategy.name,
                "uf1": bootstrap_mean(result.found),
                "regret": best - float(result.found.mean()),
                "rank": bootstrap_mean(rank),
                "against_yardstick": bootstrap_mean(result.found - results[0].found),
                "cost_of_as_many_trials": float(result.spent.mean()),
                "against_unpruned": bootstrap_mean(result.same_trials - same.same_trials),
                "equals_stopped": wrongly_stopped(table, pruners.PRUNERS[strategy.pruner]),
            }
        )
    return sorted(rows, key=lambda row: row["rank"]["mean"])


def bootstrap_mean(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean of (R,) repeats, and its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).choice(values, (REPEATS, len(values))).mean(1)
    return {"mean": float(values.mean()), "ci95": tuple(np.percentile(drawn, [2.5, 97.5]).tolist())}


def print_tournament(rows: Sequence[dict[str, Any]], configurations: int, trials: int, repeats: int) -> None:
    """What each way to search found in a replay."""
    terminal.say(f"{configurations} configurations, at the cost of {trials} whole trials, {repeats} repeats")
    cells = []
    for row in rows:
        uf1, rank = row["uf1"], f"{row['rank']['mean']:.1f}"
        shares = (f"{row[key]:.0%}" for key in ("cost_of_as_many_trials", "equals_stopped"))
        cells.append((row["strategy"], uf1["mean"], terminal.interval(uf1["ci95"]), row["regret"], rank, *shares))
    terminal.show(Shown(("strategy", "UF1", "95 %", "regret", "rank", "cost", "equals"), cells))
    terminal.say(
        "UF1: true, of what was chosen; 95 %: over repeats. regret: below the best there is. rank: mean, 1 the best. "
        "cost: of as many trials, as a share of no pruner's. equals: how often it stops a trial that equals the "
        "best."
    )


@click.group(cls=Commands)
def main() -> None:
    """Ways to search against each other."""


@main.command(epilog=example("python benchmarks/replays.py search --study demo"))
@click.option("--study", "study_name", default="demo", show_default=True, help="Whose space and table of folds.")
@click.option("--table", type=PATH, help="Made by `table`.  [default: the study's own]")
@click.option("--trials", type=click.IntRange(min=2), default=20, show_default=True, help="Cost, in whole trials.")
@click.option("--repeats", type=click.IntRange(min=2), default=50, show_default=True)
@click.option("--only", help="Strategies whose names contain this, and the yardstick.")
@options("as_json")
def search(given: Given, study_name: str, table: Path | None, trials: int, repeats: int, only: str | None) -> None:
    """Replay samplers and pruners on a table of folds: what they find at equal cost, and what as many trials cost."""
    path = table or fold_table.shipped(space.load(study_name).name)
    file = fold_table.study_of(path, study_name)
    found = fold_table.load(path, file)
    chosen = [each for each in STRATEGIES if not only or only in each.name or each == YARDSTICK]
    with terminal.bars() as progress:
        results = tournament(found, file, chosen, trials, repeats, partial(progress, "replaying searches"))
    rows = facts(found, results)
    given.tell(rows, lambda: print_tournament(rows, len(found.values), trials, repeats))


@main.command(epilog=example("python benchmarks/replays.py table --study demo --configurations 80"))
@click.option("--study", "study_name", default="demo", show_default=True, help="Whose space and subjects.")
@click.option("--configurations", type=click.IntRange(min=2), default=80, show_default=True)
@click.option("--seeds", type=click.IntRange(min=2), default=2, show_default=True)
@options("data device")
@click.option("--out", type=PATH, default=Path("replay"), show_default=True)
def table(given: Given, study_name: str, configurations: int, seeds: int, out: Path) -> None:
    """Train a table of folds, once; the same command goes on where it was stopped."""
    file = space.load(study_name)
    folder = out / check_name(file.name)
    with terminal.working() as progress:
        loaded = load_data(find_data(given.data, progress), file.base, progress)
        searched, told = Search(file, loaded, loaded.select(file.subjects), 0, out), partial(progress, "training folds")
        with given.where.open(loaded.run) as executor:
            path = fold_table.build(searched, executor, configurations, seeds, folder, told)
    click.echo(f"{configurations} configurations, {seeds} seeds, {len(searched.subjects)} subjects: {path}")


if __name__ == "__main__":
    main()
