"""How difficult each subject of a confirmation was."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

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


def rank(folds: Iterable[Predictions]) -> list[Ranked]:
    """The subjects of a confirmation's folds, the hardest first, as evaluation.folds.hardest_of has it."""
    by_subject: dict[str, list[Predictions]] = {}
    for fold in folds:
        by_subject.setdefault(fold.subject, []).append(fold)
    errors = {subject: _mean_errors(own) for subject, own in by_subject.items()}
    every = sum(errors.values())
    rows = {}
    for subject, own in by_subject.items():
        clips, loss = len(own[0].labels), -float(np.mean([log_likelihood(fold, tail) for fold in own]))
        rows[subject] = Ranked(subject, clips, loss, loss * clips, errors[subject] / every if every else 0.0)
    return [rows[subject] for subject in hardest_of({subject: row.total for subject, row in rows.items()})]


def _mean_errors(folds: Sequence[Predictions]) -> float:
    return float(np.mean([len(fold.labels) - np.trace(fold_confusion(fold, tail)) for fold in folds]))


def study_line(rows: Sequence[Ranked]) -> str:
    """The hardest subjects as a study file has them."""
    return f'subjects = "{", ".join(row.subject for row in rows[:SUBJECTS_SHOWN])}"'
