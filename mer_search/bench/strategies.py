"""A tournament of ways to search, replayed on a table of folds; what wins it is the default."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mer_search.bench.fold_table import Table
from mer_search.bench.replay import Replayed, Strategy, replay, run_pruner
from mer_search.evaluation.metrics import uf1
from mer_search.evaluation.statistics import bootstrap_mean
from mer_search.search import pruner as pruners
from mer_search.search.space import StudyFile

STRATEGIES = (
    Strategy("random, no pruner", "random"),  # the yardstick
    *(
        Strategy(f"{sampler}, {'no pruner' if pruner == 'none' else pruner}", sampler, pruner)
        for sampler in ("random", "tpe")
        for pruner in pruners.PRUNERS
        if (sampler, pruner) != ("random", "none")
    ),
    Strategy("qmc, no pruner", "qmc"),
    Strategy("gp, no pruner", "gp"),
    Strategy("gp, recall", "gp", "recall"),
    Strategy("tpe, no pruner, published rule", "tpe", "none", "best_test_epoch"),
    *(Strategy(f"tpe, rank-rungs, {k} finalists", "tpe", "rank-rungs", finalists=k) for k in (2, 3, 5)),
    Strategy("tpe, recall-rungs, 3 finalists", "tpe", "recall-rungs", finalists=3),
    Strategy("tpe, recall-rungs, by recall", "tpe", "recall-rungs", objective="recall"),
    Strategy("tpe, recall-rungs, by recall, 3 finalists", "tpe", "recall-rungs", objective="recall", finalists=3),
    Strategy("random, no pruner, 3 finalists", "random", finalists=3),
)
BEFORE = 10  # trials that have run to their end, in what is asked about equals
TOP_SHARE = 0.25  # share of the configurations, the best, among which equals are sought: a best trial is one of these


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
    """Replay every strategy `repeats` times, paired: repeat r sees the same seed in all.

    Args:
        trials: the cost is that of so many trials that run to their end.
        on_repeat: called after each with (done, total).
    """
    subjects = table.shape[2]
    budget = round(trials * subjects * float(table.epochs.mean()))
    results = []
    strategies = [strategy for strategy in strategies if table.has_finals or not strategy.finalists]
    for place, strategy in enumerate(strategies):
        runs = []
        for repeat in range(repeats):
            runs.append(replay(table, file, strategy, budget, repeat))
            on_repeat(place * repeats + repeat + 1, len(strategies) * repeats)
        results.append(Result(strategy, *np.array([_measured(run, budget, trials) for run in runs]).T))
    return results


def _measured(run: Replayed, budget: int, trials: int) -> tuple[float, float, float]:
    """True UF1 at the budget; cost of so many trials as a share of the budget; true UF1 after so many trials."""
    affordable = max(1, int(np.searchsorted(run.spent, budget, side="right")))
    enough = min(trials, len(run.spent))
    return float(run.truth[affordable - 1]), run.spent[enough - 1] / budget, float(run.truth[enough - 1])


def wrongly_stopped(table: Table, pruner: pruners.Pruner, repeats: int = 20) -> float:
    """How often a pruner stops a trial that equals the best: the same configuration, with another seed.

    Over the best quarter of the configurations and all pairs of seeds, each `repeats` times in another order. As many
    others, drawn from all configurations, have run to their end as in a search of some length.
    """
    truth = uf1(table.final(table.counts).sum(2)).mean(1)
    good = np.argsort(-truth)[: max(1, round(TOP_SHARE * len(truth)))]
    random = np.random.default_rng(0)
    configurations, seeds, subjects = table.shape
    stopped = []
    for m, (own, best), _ in product(good.tolist(), permutations(range(seeds), 2), range(repeats)):
        order = random.permutation(subjects).tolist()
        others = random.choice(configurations, min(BEFORE, configurations), replace=False)
        rivals = (m, [other for other in others.tolist() if other != m])
        stopped.append(run_pruner(table, pruner, order, (m, own), rivals, best).behind is not None)
    return float(np.mean(stopped))


def facts(table: Table, results: Sequence[Result]) -> list[dict[str, Any]]:
    """The tournament as one JSON document, the best first.

    Means over repeats with 95 % bootstrap intervals over repeats; `rank` is the mean rank at equal cost, 1 the best;
    `against_yardstick` and `against_unpruned` (the same sampler, no trial stopped) are paired differences in true UF1.
    """
    best = float(uf1(table.final(table.counts).sum(2)).mean(1).max())
    ranks = rankdata(
        [-result.found for result in results], axis=0
    )  # (strategies, R) in each repeat; equals share theirs
    yardstick = results[0]
    unpruned = {
        (each.strategy.sampler, each.strategy.rule): each
        for each in reversed(results)
        if each.strategy.pruner == "none"
    }
    rows = []
    for result, rank in zip(results, ranks, strict=True):
        strategy = result.strategy
        plain = unpruned.get((strategy.sampler, strategy.rule), result)
        rows.append(
            {
                "strategy": strategy.name,
                "uf1": bootstrap_mean(result.found),
                "regret": best - float(result.found.mean()),
                "rank": bootstrap_mean(rank),
                "against_yardstick": bootstrap_mean(result.found - yardstick.found),
                "cost_of_as_many_trials": float(result.spent.mean()),
                "against_unpruned": bootstrap_mean(result.same_trials - plain.same_trials),
                "equals_stopped": wrongly_stopped(table, pruners.PRUNERS[strategy.pruner]),
            }
        )
    return sorted(rows, key=lambda row: row["rank"]["mean"])
