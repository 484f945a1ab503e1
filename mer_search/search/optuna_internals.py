"""What Optuna has but does not offer in public: the only place that touches its private names (Optuna 5)."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import QMCSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState


def studies_by_age(storage: BaseStorage) -> dict[str, dict[str, Any]]:
    """The names of all studies, the one that was made last at the end, and their attributes."""
    every = sorted(storage.get_all_studies(), key=lambda study: study._study_id)
    return {study.study_name: study.user_attrs for study in every}


def wait_again(study: optuna.Study, trial: FrozenTrial | Trial) -> None:
    """Let a trial that was interrupted wait: the next `ask` takes it up under its own number, with its values."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def prune_without_value(study: optuna.Study, trial: Trial) -> None:
    """End a trial as pruned; `study.tell` would make its last intermediate value, which is no UF1, its value."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED)


class NumberedQMCSampler(QMCSampler):
    """Quasi-random search of the first trial's axes. A trial's number is its place in the sequence, so that it is drawn
    again as it was if it was killed meanwhile; Optuna's own takes the next place whenever it draws."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._place = trial.number - 1  # the first trial is no part of the sequence
        before = study.get_trials(deepcopy=False)[: trial.number]
        return next((dict(each.distributions) for each in before if each.distributions), {})

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._place
