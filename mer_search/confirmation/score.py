"""Scores of a log of predictions by the rules of the field, and two logs compared in pairs on the clips they share."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from mer_search.config import Part
from mer_search.confirmation.compare import Contestant, comparison
from mer_search.confirmation.summary import Comparison, Score, Summary, read_subjects, read_summary
from mer_search.data.readers.annotation import without_zeros
from mer_search.errors import DataError
from mer_search.evaluation import metrics
from mer_search.evaluation.logs import Log, Row
from mer_search.evaluation.metrics import LEAKS, Ints, best_epoch, confusion, f1_by_epoch, macro_f1
from mer_search.evaluation.statistics import uf1_interval

LOG = "megc_log.txt"  # a confirmation's
AS_GIVEN = "as_given"  # the rule of a log without epochs: how they were chosen is not known


class SubjectScore(Part):
    """Of one subject."""

    subject: str
    n_clips: int
    n_correct: int
    f1: float  # mean over the classes that occur or are predicted here
    epoch: int | None  # that was taken, as the log counts; None where it has none


class LogScore(Score):
    """Of all subjects under a rule, counts pooled."""

    leaks: bool | None  # whether the epoch was chosen on the test person; None where that is not known
    confusion: tuple[tuple[int, ...], ...]  # rows: truth
    subjects: tuple[SubjectScore, ...]


class ScoredLog(Part):
    """What a log's predictions score."""

    name: str
    classes: tuple[str, ...]
    n_clips: int
    epochs: tuple[int, ...]  # () where the log has none
    rules: dict[str, LogScore]  # "last" and "best_test_epoch"; of a log without epochs "as_given", or ours "tail"
    names: dict[str, str] = Field({})  # of classes that the log numbers, where they are known
    seeds: int | None = None  # whose mean a confirmation's own log is
    tuning: tuple[str, ...] = ()  # subjects by whose scores a search chose what made it
    other: LogScore | None = None  # under its rule, of the subjects that the search never scored; None without a search


class LogComparison(Part):
    """Two logs on the clips that both have, after the last epoch of each."""

    n_shared: int  # clips
    not_shared: tuple[int, int]  # clips of each log that the other lacks
    found: Comparison


def _summary(log: Log) -> Summary | None:
    """That of the confirmation whose own log this is."""
    path = Path(log.name)
    beside = path.with_name("summary.json")
    return read_summary(beside) if path.name == LOG and beside.exists() else None


def _tuning(log: Log) -> tuple[str, ...]:
    """The subjects by whose scores a search chose the network whose confirmation's own log this is."""
    ours = _summary(log)
    scored = read_subjects(Path(log.name).parent) if ours and ours.n_chosen_on else {}
    return tuple(subject for subject, is_tuning in scored.items() if is_tuning)


def score(log: Log) -> ScoredLog:
    """The scores under every rule that can be applied; of a confirmation's own log, under the one that made it."""
    ours, tuning = _summary(log), _tuning(log)
    if log.epochs:
        rules = {rule: _score(log, rule, rule in LEAKS) for rule in ("last", "best_test_epoch")}
    else:
        rules = {"tail": _score(log, "last", ours.leaks)} if ours else {AS_GIVEN: _score(log, "last", None)}
    other = tuple(fold for fold in log.folds if tuning and fold.subject not in tuning)
    return ScoredLog(
        name=log.name,
        classes=log.classes,
        n_clips=sum(len(fold.labels) for fold in log.folds),
        epochs=log.epochs,
        rules=rules,
        names={str(number): name for number, name in enumerate(ours.classes)} if ours else {},
        seeds=len(ours.seeds) if ours else None,
        tuning=tuning,
        other=_score(replace(log, folds=other), "last", ours.leaks) if ours and other else None,
    )


def pooled(matrices: Ints) -> Score:
    """The scores of subjects' confusion matrices (S, K, K), counts pooled."""
    matrix = matrices.sum(0)
    uf1, uar, accuracy = (float(score(matrix)) for score in (metrics.uf1, metrics.uar, metrics.accuracy))
    return Score(uf1=uf1, uar=uar, accuracy=accuracy, ci95=uf1_interval(matrices[None]))


def _score(log: Log, rule: str, leaks: bool | None) -> LogScore:
    matrices, subjects = [], []
    for fold in log.folds:
        epoch = fold.epochs - 1 if rule == "last" else best_epoch(*f1_by_epoch(fold))
        matrix = confusion(fold.labels, fold.probabilities[epoch].argmax(-1), len(log.classes))
        matrices.append(matrix)
        one = SubjectScore(
            subject=fold.subject,
            n_clips=len(fold.labels),
            n_correct=int(np.trace(matrix)),
            f1=float(macro_f1(matrix)),
            epoch=log.epochs[epoch] if log.epochs else None,
        )
        subjects.append(one)
    every = np.array(matrices)
    total = every.sum(0).tolist()
    return LogScore(**pooled(every).model_dump(), leaks=leaks, confusion=total, subjects=tuple(subjects))


def compare_logs(first: Log, second: Log) -> LogComparison:
    """The first log against the second, paired by subject on the clips that both have. A confirmation's own log, which
    numbers the classes, is taken by their names where the other one has names."""
    first, second = _as_named(first, second), _as_named(second, first)
    one, other = _by_clip(first), _by_clip(second)
    shared = [key for key in one if key in other]
    both = f"{first.name} and {second.name}"
    if not shared:
        names = f"{first.last[0].id} and {second.last[0].id}"
        raise DataError(f"{both} must share clips, but share none, such as {names}; name subjects and clips alike")
    for mine, theirs in ((one[key], other[key]) for key in shared):
        if mine.truth != theirs.truth:
            raise DataError(
                f"{both} must have the same truths, but that of {mine.id} is {mine.truth} in the first and "
                f"{theirs.truth} in the second; name or number the classes alike"
            )
    classes = sorted({*first.classes, *second.classes})
    subjects = list(dict.fromkeys(one[key].subject for key in shared))
    met, tuning = list[Contestant](), set[str]()
    for log, rows in ((first, one), (second, other)):
        scored = _tuning(log)
        tuning |= {one[key].subject for key in shared if rows[key].subject in scored}
        matrices = np.zeros((1, len(subjects), len(classes), len(classes)), np.int64)
        for key in shared:
            truth, said = classes.index(rows[key].truth), classes.index(rows[key].prediction)
            matrices[0, subjects.index(one[key].subject), truth, said] += 1
        ours = _summary(log)
        met.append(Contestant(log.name, "", matrices, leaks=ours is not None and ours.leaks))
    return LogComparison(
        n_shared=len(shared),
        not_shared=(len(one) - len(shared), len(other) - len(shared)),
        found=comparison(met, subjects, (), sorted(tuning), classes, "", False),
    )


def _as_named(log: Log, other: Log) -> Log:
    ours = None if any(name.isdecimal() for name in other.classes) else _summary(log)
    if not ours:
        return log
    names = {str(number): name.lower() for number, name in enumerate(ours.classes)}
    if unknown := [name for name in log.classes if name not in names]:
        raise DataError(
            f"{log.name} must have the classes {', '.join(names)} of the summary.json beside it, but has "
            f"{unknown[0]}; `mer-search confirm` writes it anew"
        )
    rows = (row._replace(truth=names[row.truth], prediction=names[row.prediction]) for row in log.last)
    return replace(log, classes=tuple(names[each] for each in log.classes), last=tuple(rows))


def _by_clip(log: Log) -> dict[tuple[str, str], Row]:
    """What a log says last of each clip, by what the spellings of its subject and name have in common: 1 for sub01 and
    s1, and letters of any case, numbers with or without zeros before them."""
    found: dict[tuple[str, str], Row] = {}
    for row in log.last:
        subject = re.sub(r"^(?:subject|subj|sub|s)?[ _-]*0*(?=\d+$)", "", row.subject.lower())
        key = (subject, without_zeros(row.clip))
        if key in found:
            raise DataError(f"{log.name} must name each clip once, but has {found[key].id} and {row.id}; rename one")
        found[key] = row
    return found
