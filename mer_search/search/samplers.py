"""Optuna's samplers, by their names in a study file."""

import warnings
from collections.abc import Callable

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from mer_search.search.optuna_internals import NumberedQMCSampler

START_UP = 10  # trials drawn at random before there is a model; Optuna's own default

SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {  # of the study's seed, and of a trial's own
    # group=True: a conditional axis (focal gamma) is sampled jointly with what it hangs on.
    "tpe": lambda _, own: TPESampler(seed=own, multivariate=True, group=True, n_startup_trials=START_UP),
    "gp": lambda _, own: GPSampler(seed=own, n_startup_trials=START_UP, deterministic_objective=False),
    "random": lambda _, own: RandomSampler(seed=own),
    # One sequence for the study; an axis that the first trial has not is no part of it.
    "qmc": lambda seed, own: NumberedQMCSampler(
        seed=seed, scramble=True, independent_sampler=RandomSampler(seed=own), warn_independent_sampling=False
    ),
    "nsga2": lambda _, own: NSGAIISampler(seed=own),
}


def sampler(name: str, seed: int, drawn: int = 0) -> BaseSampler:
    """The sampler of that name, for a study that has drawn so many trials, by which no draws are repeated."""
    own = int(np.random.default_rng([seed, drawn]).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's version is pinned, and tests run what is used
        return SAMPLERS[name](seed, own)
