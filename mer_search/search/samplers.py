"""Optuna's samplers, by their names in a study file."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

START_UP = 10  # trials drawn at random before there is a model; Optuna's own default

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    # group=True: a conditional axis (focal gamma) is sampled jointly with what it hangs on.
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=START_UP),
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=START_UP, deterministic_objective=False),
    "random": lambda seed: RandomSampler(seed=seed),
    "qmc": lambda seed: QMCSampler(seed=seed, scramble=True),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
}
SEQUENCES = {"qmc"}


def sampler(name: str, seed: int, drawn: int = 0) -> BaseSampler:
    """The sampler of that name, for a study that has drawn so many trials.

    Its seed is made of both, so that no draws are repeated; but that of a sequence, whose place is kept in the storage,
    stays.
    """
    if name not in SEQUENCES:
        seed = int(np.random.default_rng([seed, drawn]).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's version is pinned, and tests run what is used
        return SAMPLERS[name](seed)


class Afresh(BaseSampler):
    """A new sampler for every trial: what it draws depends on the seed, the trial's number and the results that there
    are. So a study that was stopped, wherever, draws on as if it had not been, and workers never draw alike.
    """

    def __init__(self, name: str, seed: int) -> None:
        self._of: Callable[[int], BaseSampler] = lambda number: sampler(name, seed, number)
        self._now = self._of(0)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._now = self._of(trial.number)
        self._now.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._now.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, *ended: Any) -> None:
        self._now.after_trial(study, trial, *ended)
