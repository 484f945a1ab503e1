"""What Optuna has but does not offer in public: the only place that touches its private names (Optuna 5)."""

from typing import Any

import optuna
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
