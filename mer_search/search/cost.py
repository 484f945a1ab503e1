"""What a run is about to cost, before it starts."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import optuna

from mer_search.config import Run, Value, with_values
from mer_search.errors import UsageError
from mer_search.model.network import cost
from mer_search.search.claims import ended
from mer_search.search.study import Search
from mer_search.search.workspace import Progress
from mer_search.training.pool import Pool

DRAWN = 9  # configurations on which the cost is estimated


class Cost(NamedTuple):
    """What the trials that are still to come cost at most, if no trial is stopped early."""

    trials: int
    folds: int
    flop: float
    seconds: float


def expected_cost(search: Search, study: optuna.Study, pool: Pool, trials: int, progress: Progress) -> Cost:
    """Counted on configurations drawn from the space, and timed on the one with the median step."""
    left = max(0, trials - ended(study))
    if not left:
        return Cost(0, len(search.subjects), 0.0, 0.0)
    drawn, runs = _draw(search)
    per_clip = [3 * cost(run)[1] for run in runs]  # forward and backward
    per_step = [flop * run.train.batch for flop, run in zip(per_clip, runs, strict=True)]
    median = int(np.argsort(per_step)[len(runs) // 2])
    timed = search.loaded.with_values(drawn[median], progress)
    speed = per_step[median] / pool.seconds_per_step(timed.tensors, timed.run)
    fold = np.mean([flop * run.epochs for flop, run in zip(per_clip, runs, strict=True)]) * len(timed.clips)
    flop = float(fold) * len(search.subjects) * left
    return Cost(left, len(search.subjects), flop, flop / speed / pool.size)


def _draw(search: Search) -> tuple[list[dict[str, Value]], list[Run]]:
    """Some configurations of the space, always the same; those that cannot be are left out."""
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=search.seed))
    drawn, runs = [], []
    for _ in range(DRAWN):
        values = search.file.suggest(draws.ask())
        with suppress(UsageError):
            runs.append(with_values(search.loaded.run, values))
            drawn.append(values)
    if not runs:
        raise UsageError(f"the space must hold possible configurations, but of {DRAWN} drawn none is; narrow its axes")
    return drawn, runs
