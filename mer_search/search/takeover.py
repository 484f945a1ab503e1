"""Trials of one study in another whose space contains them: taken over, and not trained again."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, create_trial

from mer_search.config import Run, digest, value_at, with_values
from mer_search.errors import UsageError
from mer_search.search.storage import results, was_evaluated
from mer_search.search.trial import TOLD, Search, final_folder, trial_folder
from mer_search.training.fold_store import read_config

SHARED = ("checksum", "motion", "leave_out", "subjects", "rule", "also", "seed")  # attributes: values are comparable


Taken = tuple[FrozenTrial, dict[str, Any], Path]  # its parameters in the new study's space, its folder in the other's


def contained(search: Search, source: optuna.Study) -> list[Taken]:
    """The trials of another study that have a value and lie in the search's space, in the order of their numbers;
    UsageError if the two studies' values cannot be compared, DataError if the other one's folder is gone."""
    for key in SHARED:
        here, there = search.attributes[key], source.user_attrs.get(key, search.attributes[key])
        if here != there:
            raise UsageError(
                f"trials can be taken from a study of the same clips, subjects, rule and seed, but {key} is {there} in "
                f"{source.study_name!r} and {here} here; give the same, or leave out --from"
            )
    found = []
    for trial in filter(was_evaluated, source.get_trials(deepcopy=False)):
        folder = trial_folder(results(source), trial.number)
        if params := _params(search, read_config(folder / "config.json")):
            found.append((trial, params, folder))
    return found


def _params(search: Search, run: Run) -> dict[str, Any]:
    """The parameters that a configuration has in the search's space; {} if it does not lie in it."""
    try:
        params = search.file.params_of({axis.key: value_at(run, axis.key) for axis in search.file.axes})
        same = digest(with_values(search.loaded.run, search.file.tied(params))) == digest(run)
    except UsageError:  # a value off its axis, or values that do not go together
        return {}
    return params if same else {}


def begin(search: Search, study: optuna.Study, taken: Sequence[Taken]) -> None:
    """Give a new study its first trials: those taken, with their folds, of finals, too, and all that is known of
    them, and then, waiting, the points where the search starts. Called again after an interruption, it goes on."""
    there = len(study.get_trials(deepcopy=False))
    for number, (trial, params, folder) in list(enumerate(taken))[there:]:
        finals = final_folder(folder.parent, trial.number), final_folder(search.out, number)
        for old, new in ((folder, search.folder(number)), finals):
            shutil.rmtree(new, ignore_errors=True)  # of a copy that was interrupted
            if old.exists():
                shutil.copytree(old, new)
        study.add_trial(
            create_trial(
                values=trial.values,
                params=params,
                distributions={axis.key: axis.distribution for axis in search.file.axes if axis.key in params},
                user_attrs={**trial.user_attrs, TOLD: number},
                intermediate_values=trial.intermediate_values,
                constraints=trial.constraints,
            )
        )
    points = [dict(point) for point in search.file.start]
    left = [point for point in points if point not in [params for _, params, _ in taken]]
    for point in left[max(0, there - len(taken)) :]:
        study.enqueue_trial(point)
