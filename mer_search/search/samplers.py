"""Optuna's samplers, by their names in a study file."""

import warnings
from collections.abc import Callable

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

START_UP = 10  # trials drawn at random before there is a model; Optuna's own default

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    # group=True: a conditional axis (focal gamma) is sampled jointly with what it hangs on.
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=START_UP),
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=START_UP, deterministic_objective=False),
    "random": lambda seed: RandomSampler(seed=seed),
    "qmc": lambda seed: QMCSampler(seed=seed, scramble=True),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
}


def sampler(name: str, seed: int, drawn: int = 0) -> BaseSampler:
    """The sampler of that name, for a study that has drawn so many trials.

    Its seed is made of both, so that no draws are repeated; but that of a sequence (qmc), whose place is kept in the
    storage, stays.
    """
    if name != "qmc":
        seed = int(np.random.default_rng([seed, drawn]).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's version is pinned, and tests run what is used
        return SAMPLERS[name](seed)
