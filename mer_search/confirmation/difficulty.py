"""How difficult each subject of a confirmation was."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mer_search.confirmation.folders import store_of
from mer_search.errors import DataError
from mer_search.evaluation.folds import hardest_of
from mer_search.evaluation.metrics import fold_confusion, log_likelihood, tail
from mer_search.evaluation.predictions import Predictions

SUBJECTS_SHOWN = 10  # subjects that go into a study file


class Ranked(NamedTuple):
    """How hard a subject was, under the tail rule, mean over seeds."""

    subject: str
    clips: int
    log_loss: float  # mean over its clips
    total: float  # sum over its clips
    errors: float  # its share of all subjects' errors


def rank(folder: Path) -> list[Ranked]:
    """The subjects of a confirmation, the hardest first, as evaluation.folds.hardest_of has it.

    Raises:
        DataError: if the folder holds no predictions.
    """
    from mer_search.training.fold_store import load_by_subject  # loads torch: not for every `status`

    by_subject: dict[str, list[Predictions]] = {}
    for fold in load_by_subject(store_of(folder)).values():
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
