"""How difficult each subject of a confirmation was."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mer_search.evaluation.folds import hardest_of
from mer_search.evaluation.metrics import fold_confusion, mean_log, tail
from mer_search.evaluation.predictions import Predictions, grouped

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
    rows = {}
    for subject, own in grouped(folds, "subject").items():
        clips, loss = len(own[0].labels), -float(np.mean([mean_log(tail(fold), fold.labels) for fold in own]))
        errors = float(np.mean([clips - np.trace(fold_confusion(fold, tail)) for fold in own]))
        rows[subject] = Ranked(subject, clips, loss, loss * clips, errors)
    every = sum(row.errors for row in rows.values()) or 1
    order = hardest_of({subject: row.total for subject, row in rows.items()})
    return [rows[subject]._replace(errors=rows[subject].errors / every) for subject in order]


def study_line(rows: Sequence[Ranked]) -> str:
    """The hardest subjects as a study file has them."""
    return f'subjects = "{", ".join(row.subject for row in rows[:SUBJECTS_SHOWN])}"'
