"""What is about to be trained, and how long that takes: said before it is."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState

from mer_search.config import Run, Value, with_values
from mer_search.engine.executor import Executor, train_all
from mer_search.engine.task import Timing
from mer_search.errors import UsageError
from mer_search.model.flops import state_bytes, step_flop
from mer_search.model.network import last_map
from mer_search.search.finals import SEEDS, finalists
from mer_search.search.pruner import PRUNERS
from mer_search.search.storage import ended, finals_over
from mer_search.search.trial import Search
from mer_search.search.workspace import Loaded, Progress
from mer_search.training.fold_store import load_folds, read_config

SAMPLED_CONFIGURATIONS = 9  # configurations on which a search's cost is estimated


class Cost(NamedTuple):
    """What is still to come, at most."""

    trials: int  # or networks
    folds: int  # of all of them
    flop: float
    seconds: float
    disk: int = 0  # bytes: of networks, or of folds that are kept half-trained until their trial has ended
    finals: int = 0  # folds of a search's finalists
    last_map: int = 0  # pixels a side of the largest last map of the networks that a search was counted on


NOTHING = Cost(0, 0, 0.0, 0.0)


def search_cost(
    search: Search, study: optuna.Study, executor: Executor, trials: int, in_flight: int, progress: Progress
) -> Cost:
    """Of the trials that a study still lacks, if none is stopped early: counted on configurations drawn from the
    space, and timed on the one with the median step."""
    left = max(0, trials - ended(study))
    n_finalists = min(search.file.most_finalists, left + len(finalists(search, study)))
    finals = n_finalists * SEEDS * len(search.subjects) if n_finalists > 1 else 0
    if not left:
        return NOTHING if finals_over(study) else NOTHING._replace(finals=finals)
    drawn, runs = _draw(search)
    steps = [step_flop(run) for run in runs]
    median = int(np.argsort(steps)[len(runs) // 2])
    speed = slot_speed(search.loaded.with_values(drawn[median], progress), steps[median], executor, progress)
    has_rungs = len(PRUNERS[search.file.pruner].milestones(runs[median].train.epochs)) > 1
    kept = max(map(state_bytes, runs)) * len(search.subjects) * min(in_flight, left) if has_rungs else 0
    folds, n_clips = left * len(search.subjects), len(search.loaded.clips)
    flop = np.mean([fold_flop(run, step, n_clips) for run, step in zip(runs, steps, strict=True)])
    whole = float(flop) * (folds + finals - _begun(search, study))
    return Cost(left, folds, whole, whole / speed / executor.slots, kept, finals, max(map(last_map, runs)))


def _begun(search: Search, study: optuna.Study) -> float:
    """What is on disk of trials that were interrupted, in whole folds."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    folders = [search.folder(trial.number) for trial in waiting]
    return sum(
        fold.epochs / read_config(folder / "config.json").train.epochs
        for folder in folders
        for fold in load_folds(folder).values()
    )


def fold_flop(run: Run, step: int, clips: int) -> float:
    """Floating-point operations of a fold, given those of a step."""
    return step / run.train.batch * run.epochs * clips


def slot_speed(loaded: Loaded, step: int, executor: Executor, progress: Progress) -> float:
    """Floating-point operations a second of one slot, timed on a step of so many."""
    progress("timing a step", 0, 1)
    executor.put(loaded.dataset, loaded.tensors)
    (timed,) = train_all(executor, [Timing(loaded.run, loaded.dataset)])
    progress("timing a step", 1, 1)
    return step / float(timed.seconds)


def _draw(search: Search) -> tuple[list[dict[str, Value]], list[Run]]:
    """Some configurations of the space, always the same; those that cannot be are left out."""
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=search.seed))
    drawn, runs = [], []
    for _ in range(SAMPLED_CONFIGURATIONS):
        values = search.file.suggest(draws.ask())
        with suppress(UsageError):
            runs.append(with_values(search.loaded.run, values))
            drawn.append(values)
    if not runs:
        raise UsageError(
            f"the space must hold possible configurations, but of {SAMPLED_CONFIGURATIONS} drawn none is; narrow its "
            "axes"
        )
    return drawn, runs
