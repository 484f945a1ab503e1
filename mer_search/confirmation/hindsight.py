"""What confirmations say about subjects: whether those of the search rank trials as all do, and which are hard."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna

from mer_search.errors import DataError, UsageError
from mer_search.evaluation.folds import hardest_of
from mer_search.evaluation.metrics import fold_confusion, log_likelihood, tail
from mer_search.evaluation.predictions import Predictions
from mer_search.search.storage import ran_to_its_end

MIN_TRIALS = 5  # trials; of fewer a rank correlation says nothing
SUBJECTS_SHOWN = 10  # subjects that go into a study file


def confirmations(study: optuna.Study) -> dict[int, Path]:
    """trial -> folder of its confirmation on all subjects of the study's data, where it was carried to its end."""
    folders = (Path(study.user_attrs["out"]) / "confirm").glob("trial-*")
    numbers = {int(match[1]): path for path in folders if (match := re.fullmatch(r"trial-(\d+)", path.name))}
    return {number: path for number, path in sorted(numbers.items()) if (path / "summary.json").exists()}


def proxy(study: optuna.Study) -> dict[str, Any] | None:
    """Whether the subjects of the search rank trials as all subjects do; None before two trials are confirmed.

    Raises:
        DataError: if a confirmation's summary is damaged.
    """
    scores = {
        trial.number: float(trial.values[0]) for trial in study.get_trials(deepcopy=False) if ran_to_its_end(trial)
    }
    confirmed = {number: _confirmed(path) for number, path in confirmations(study).items() if number in scores}
    if len(confirmed) < 2:
        return None
    from mer_search.evaluation.statistics import rank_correlation  # scipy.stats takes a second: not for every `status`

    searched = [scores[number] for number in confirmed]
    found, interval = rank_correlation(searched, list(confirmed.values()))
    enough = len(confirmed) >= MIN_TRIALS
    return {
        "trials": list(confirmed),
        "searched_uf1": searched,
        "confirmed_uf1": list(confirmed.values()),
        "spearman": found,
        "ci95": interval if enough else None,
        "verdict": _verdict(interval) if enough else f"too few to tell ({MIN_TRIALS} are the least)",
    }


def _confirmed(folder: Path) -> float:
    path = folder / "summary.json"
    try:
        return float(json.loads(path.read_text())["rules"]["tail"]["all"]["uf1"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} must be a confirmation's summary, but cannot be read ({error!r}); confirm the trial again"
        ) from error


def _verdict(interval: tuple[float, float]) -> str:
    if interval[1] < 0:
        return "the score misleads, trials that it puts first are worse on all subjects"
    if interval[0] <= 0:
        return "the score is not shown to rank trials"
    return "the score ranks trials as all subjects do"


def confirmation(study: optuna.Study, trial: int | None) -> Path:
    """The folder of a trial's confirmation; of the last one if `trial` is None.

    Raises:
        UsageError: if there is none.
    """
    if trial is None:
        return latest(study)
    folders = confirmations(study)
    if trial not in folders:
        have = f"confirmed are {', '.join(map(str, folders))}" if folders else "none is confirmed"
        raise UsageError(f"--trial must be confirmed on all subjects, but {trial} is not ({have}); confirm it first")
    return folders[trial]


def store_of(folder: Path) -> Path:
    """Where a confirmation's folds lie, whichever subjects it was asked for."""
    return folder.with_name(re.sub(r"-\d+-subjects-\w+$", "", folder.name))


class Ranked(NamedTuple):
    """How hard a subject was, under the tail rule, mean over seeds."""

    subject: str
    clips: int
    log_loss: float  # mean over its clips
    total: float  # sum over its clips
    errors: float  # its share of all subjects' errors


def latest(study: optuna.Study) -> Path:
    """The folder of the study's last confirmation.

    Raises:
        UsageError: if there is none.
    """
    folders = confirmations(study).values()
    if not folders:
        raise UsageError(
            f"study {study.study_name!r} must have a trial confirmed on all subjects, but has none; run `mer-search "
            "confirm` without --subjects first, or give the folder of a trial that was confirmed on some"
        )
    return max(folders, key=lambda path: (path / "summary.json").stat().st_mtime)


def rank(folder: Path) -> list[Ranked]:
    """The subjects of a confirmation, the hardest first, as training.folds.hardest_of has it.

    Raises:
        DataError: if the folder holds no predictions.
    """
    from mer_search.training.fold_store import load_folds  # loads torch: not for every `status`

    by_subject: dict[str, list[Predictions]] = {}
    for fold in load_folds(store_of(folder)).values():
        by_subject.setdefault(fold.subject, []).append(fold)
    if not by_subject:
        raise DataError(f"{folder} must be a confirmation's folder such as runs/demo/confirm/trial-7, but has no folds")
    errors = {subject: _mean_errors(folds) for subject, folds in by_subject.items()}
    every = sum(errors.values())
    rows = {}
    for subject, folds in by_subject.items():
        clips, loss = len(folds[0].labels), -float(np.mean([log_likelihood(fold, tail) for fold in folds]))
        rows[subject] = Ranked(subject, clips, loss, loss * clips, errors[subject] / every if every else 0.0)
    return [rows[subject] for subject in hardest_of({subject: row.total for subject, row in rows.items()})]


def _mean_errors(folds: Sequence[Predictions]) -> float:
    return float(np.mean([len(fold.labels) - np.trace(fold_confusion(fold, tail)) for fold in folds]))


def study_line(rows: Sequence[Ranked]) -> str:
    """The hardest subjects as a study file has them."""
    return f'subjects = "{", ".join(row.subject for row in rows[:SUBJECTS_SHOWN])}"'
