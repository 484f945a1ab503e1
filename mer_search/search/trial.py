"""A trial of a study: what it is compared with, which folds it needs, and what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from mer_search.config import Run, Value, with_values
from mer_search.data import fit
from mer_search.errors import Infeasible, UsageError
from mer_search.evaluation.metrics import LEAKS, RULES, pooled_uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.model.flops import cost
from mer_search.search import pruner as pruners
from mer_search.search.memory_limit import foretell
from mer_search.search.scheduler import Job, Needs, Want
from mer_search.search.space import StudyFile
from mer_search.search.storage import FINALS_OVER, NOT_COUNTED, ran_to_its_end, ranked
from mer_search.search.workspace import Loaded, Progress
from mer_search.training.fold_store import claim, load_folds

SEED = "seed"  # attribute of a trial: with which its folds are trained
TOLD = "told"  # attribute of a trial: it knows of the trials with lower numbers than this
Folds = Mapping[str, Predictions]  # by subject


@dataclass(frozen=True)
class Search:
    """One study on one dataset: what `run` needs to evaluate a trial."""

    file: StudyFile
    loaded: Loaded
    subjects: tuple[str, ...]
    seed: int
    out: Path  # the study's folder

    def __post_init__(self) -> None:
        for axis in self.file.axes:
            for value in axis.values:
                fit(with_values(self.loaded.run, {axis.key: value}), self.loaded.folder, self.loaded.clips)

    @property
    def attributes(self) -> dict[str, Any]:
        """What a resumed study must share, and what confirm and status need to know. Kept in the storage."""
        return {
            "study_file": self.file.name,
            "digest": self.file.digest,
            "dataset": self.loaded.folder.title,
            "synthetic": self.loaded.folder.synthetic,
            "data": str(self.loaded.folder.path.resolve()),
            "checksum": self.loaded.run.data.checksum,
            "task": self.loaded.run.data.task,
            "leave_out": self.loaded.run.data.leave_out,
            "motion": self.loaded.motion_digest,
            "subjects": list(self.subjects),
            "rule": self.file.rule,
            "also": self.file.also,
            "preset": self.file.preset,
            "seed": self.seed,
            "out": str(self.out.resolve()),
            "leaks": self.file.rule in LEAKS or self.file.base.leaks,
            NOT_COUNTED: self.not_counted,
            FINALS_OVER: self.file.most_finalists == 0,
        }

    @property
    def not_counted(self) -> list[str]:
        """The classes of which its subjects have no clip."""
        clips = zip(self.loaded.clips, self.loaded.folds, strict=True)
        met = {clip.label for clip, fold in clips if fold in self.subjects}
        return [name for name in self.loaded.run.data.classes if name not in met]

    def folder(self, number: int) -> Path:
        """Where a trial's files are."""
        return trial_folder(self.out, number)


def trial_folder(out: Path, number: int) -> Path:
    """Where a trial's files are, in its study's folder."""
    return out / f"trial-{number:04d}"


def final_folder(out: Path, number: int) -> Path:
    """Where a finalist's folds with further seeds are, in its study's folder."""
    return out / "finals" / f"trial-{number}"


@dataclass(frozen=True)
class Incumbents:
    """How a trial is scored and what it is compared with: trials that had run to their end and been told before it was
    asked for, at the same epoch. Shapes: S subjects of the study, K classes."""

    search: Search
    pruner: pruners.Pruner
    class_weights: NDArray[np.float64]  # (K,) what a clip of each class weighs
    weights: NDArray[np.float64]  # (S,) what a subject weighs
    rivals: Sequence[Folds] = ()  # the best trial's folds, then others'

    def score(self, fold: Predictions) -> float:
        """A score of one subject, in the pruner's measure."""
        probabilities = RULES[self.search.file.rule](fold)
        return float(pruners.MEASURES[self.pruner.measure].of(probabilities, fold.labels, self.class_weights))

    def at(self, epochs: int) -> NDArray[np.float64] | None:
        """The rivals' scores (R, S) after so many epochs; None while no trial has run to its end."""
        subjects = self.search.subjects
        scores = [[self.score(folds[subject].until(epochs)) for subject in subjects] for folds in self.rivals]
        return np.array(scores) if scores else None


def find_incumbents(search: Search, told: Sequence[FrozenTrial], pruner: pruners.Pruner) -> Incumbents:
    """What a trial is compared with by a pruner, of the trials that were told before it was asked for; nothing if none
    is ever stopped. DataError if a trial's folds are damaged."""
    owner, labels = np.array(search.loaded.folds), search.loaded.labels
    measure, n_classes = pruners.MEASURES[pruner.measure], len(search.loaded.run.data.classes)
    each = measure.class_weights(labels[np.isin(owner, search.subjects)], n_classes)
    weights = np.array([each[labels[owner == subject]].sum() for subject in search.subjects])
    numbers: list[int] = []
    if (pruner.p or pruner.errors) and (best := ranked(told, {})[:1]):
        others = (each.number for each in reversed(told) if ran_to_its_end(each) and each.number != best[0].number)
        numbers = [best[0].number, *reversed(list(islice(others, pruners.MAX_OTHERS)))]
    rivals = [_folds(search.folder(number)) for number in numbers]
    whole = [folds for folds in rivals if set(search.subjects) <= set(folds)]  # not those whose folder was deleted
    return Incumbents(search, pruner, each, weights, whole if whole and whole[0] is rivals[0] else ())


@lru_cache(2 * pruners.MAX_OTHERS)
def _folds(folder: Path) -> Folds:
    """Of a trial that has ended, so they do not change while a search runs."""
    return {fold.subject: fold for fold in load_folds(folder).values()}


def forget_folds() -> None:
    """Read folds anew, for a study may have been deleted and begun again in the same folder."""
    _folds.cache_clear()


@dataclass(repr=False)
class Evaluation:
    """A trial while it is evaluated. Shapes: S subjects of the study."""

    search: Search
    trial: optuna.Trial
    run: Run
    incumbents: Incumbents
    order: list[int]  # in which the trial meets its subjects
    plan: list[Want]  # all folds that it may need, in the order in which it needs them
    reported: Mapping[int, float]  # intermediate values, by a call that was interrupted
    done: int = 0  # folds of the plan that count
    seen: dict[str, Predictions] = field(default_factory=dict)  # of the subjects that reached its last rung
    epochs: int = 0  # of that
    microbatches: int = 1  # that a batch is cut into, so that its activations fit the device

    def __repr__(self) -> str:
        return f"<Evaluation of trial {self.number}: {len(self.seen)} folds, {self.epochs} epochs>"

    @property
    def number(self) -> int:
        """The trial's."""
        return self.trial.number

    @property
    def folds(self) -> tuple[Predictions, ...]:
        """Those that count."""
        return tuple(self.seen.values())

    def needs(self) -> Needs:
        """What the pruner asks for; the outcome are the trial's values: UF1 over the study's subjects, or an estimate
        of it if the pruner stops it, and its cost if that is minimised too."""
        rivals, subjects, also = self.incumbents, len(self.search.subjects), self.search.file.also
        pruner = rivals.pruner.run(self.order, self.run.train.epochs, rivals.at, rivals.weights)
        need = next(pruner)
        while True:
            fold = yield self.plan[self.done]
            rung, self.done = self.done // subjects, self.done + 1
            if need.epochs != self.epochs:
                self.seen, self.epochs = {}, need.epochs
            self.seen[fold.subject] = fold
            score, step = rivals.score(fold), rung * subjects + need.subject
            if step not in self.reported and not also:  # of two objectives, Optuna takes none in between
                self.trial.report(score, step)
            try:
                need = pruner.send(score)
            except StopIteration as end:
                return self._values(end.value)

    def _values(self, outcome: pruners.Outcome) -> list[float]:
        (parameters, flop), also, rule = cost(self.run), self.search.file.also, RULES[self.search.file.rule]
        self.trial.set_user_attr("parameters", parameters)
        self.trial.set_user_attr("gflop", round(flop / 1e9, 6))
        self.trial.set_user_attr("fold_epochs", [outcome.spent, len(self.search.subjects) * self.run.train.epochs])
        if self.microbatches > 1:
            self.trial.set_user_attr("microbatches", self.microbatches)
        if not also and not self.trial.constraints:  # by which Optuna tells estimates from scores
            self.trial.set_constraint("stopped early", outcome.violation)
        if outcome.behind is not None:
            self.trial.set_user_attr("stopped_after", len(outcome.subjects))
            self.trial.set_user_attr("stopped_epochs", outcome.epochs)
            best = pooled_uf1(list(self.incumbents.rivals[0].values()), rule)
            return [pruners.estimate(best, outcome.behind)]
        value = pooled_uf1(self.folds, rule)
        return [value, self.trial.user_attrs[also]] if also else [value]


def failed_job(search: Search, trial: optuna.Trial, error: Exception) -> Job:
    """The job of a trial that failed before it began; told when it is the trial's turn."""
    return Job(trial, search.loaded, search.folder(trial.number), error=error, over=True)


def evaluation_job(
    search: Search, there: Sequence[FrozenTrial], trial: optuna.Trial, values: dict[str, Value], progress: Progress
) -> Job:
    """The job that evaluates a trial with these values; one that has failed already if they are not possible. `there`
    are the study's trials as they were before it was asked for."""
    try:
        try:
            loaded = search.loaded.with_values(values, progress)
        except UsageError as error:  # values that are possible one by one, but not together
            raise Infeasible(str(error), "valid configuration") from error
        foretell(there, trial, loaded.run)
        seed = search.seed + repeats(there, trial)
        trial.set_user_attr(SEED, seed)
        pruner = pruners.PRUNERS[search.file.pruner]
        order = pruners.subject_order(len(search.subjects), search.seed, trial.number)
        needs = pruner.plan(order, loaded.run.train.epochs)
        evaluation = Evaluation(
            search,
            trial,
            loaded.run,
            find_incumbents(search, there[: trial.user_attrs[TOLD]], pruner),
            order,
            [Want(seed, search.subjects[need.subject], need.epochs) for need in needs],
            there[trial.number].intermediate_values if trial.number < len(there) else {},
        )
        claim(search.folder(trial.number), loaded.run, loaded.motion_digest)
    except Exception as error:
        return failed_job(search, trial, error)
    return Job(evaluation, loaded, search.folder(trial.number), evaluation.plan, evaluation.needs())


def repeats(trials: Sequence[FrozenTrial], trial: optuna.Trial | FrozenTrial) -> int:
    """How many trials before it had a trial's values: with each it has another seed."""
    params = trial.params  # which Optuna copies whenever it is asked
    return sum(other.params == params for other in trials[: trial.number])
