"""The study: ask for values, train them on its subjects, tell the result; go on where an earlier call stopped."""

import traceback
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mer_search.config import Value, with_values
from mer_search.data import fit
from mer_search.errors import (
    DOES_NOT_FIT,
    DiskError,
    Infeasible,
    MerSearchError,
    StorageError,
    UnreachableError,
    UsageError,
)
from mer_search.files import disk, sweep, write_whole
from mer_search.model.network import cost
from mer_search.search import racing
from mer_search.search.claims import UNREACHABLE, Claims, ended, failed_last, open_claims, persist
from mer_search.search.fits import foretell, note_need
from mer_search.search.rivals import Rivals, find_rivals
from mer_search.search.samplers import Afresh
from mer_search.search.space import StudyFile, changed
from mer_search.search.storage import best_trial
from mer_search.search.watcher import Evaluation, Watcher
from mer_search.search.workspace import Loaded
from mer_search.training.loop import Epoch
from mer_search.training.loso import finish_folds, go_no_further
from mer_search.training.metrics import LEAKS, RULES, pooled_uf1
from mer_search.training.pool import Pool
from mer_search.training.predictions import Predictions

FAILURES = 3  # consecutive failures that end a run
MARK = "study.id"  # a file in a study's folder: machines that see it share the folder


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
            "subjects": list(self.subjects),
            "rule": self.file.rule,
            "also": self.file.also,
            "preset": self.file.preset,
            "seed": self.seed,
            "out": str(self.out.resolve()),
            "leaks": self.file.rule in LEAKS,
        }


MUST_AGREE = {
    "digest": "space or settings",
    "checksum": "data",
    "subjects": "subjects",
    "seed": "seed",
}


def open_study(search: Search, storage: optuna.storages.BaseStorage, name: str) -> optuna.Study:
    """The study of that name, new or to be gone on with.

    Interrupted trials wait to be taken up again under their own numbers, with what they had finished.

    Raises:
        StorageError: if a study of that name has another space, data, subjects or seed, or its folder is not its own.
    """
    with open_claims(storage, name) as claims, claims.turn():  # workers that start together make one study
        study = _open(search, storage, name)
        claims.free(study)
    return study


def _open(search: Search, storage: optuna.storages.BaseStorage, name: str) -> optuna.Study:
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][: 2 if search.file.also else 1]
    study = optuna.create_study(study_name=name, storage=storage, directions=directions, load_if_exists=True)
    if "mark" not in study.user_attrs:  # new, or whoever made it was killed in the middle of that
        _make(study, search)
    _check(study, search)
    sweep(search.out)
    if not (kept := kept_study(search.out)).exists():
        write_whole(kept, search.file.text)
    study.sampler = Afresh(search.file.sampler, search.seed)
    return study


def _make(study: optuna.Study, search: Search) -> None:
    """What a new study has. The last thing is the mark, which makes its folder known on whichever machine."""
    if next(search.out.glob("trial-*"), None):
        raise StorageError(
            f"a new study needs an empty results folder, but {search.out} holds trials of a study that is not in "
            "this storage; give another --name or --out, or delete the folder"
        )
    for key, value in search.attributes.items():
        study.set_user_attr(key, value)
    for values in search.file.start[len(study.get_trials(deepcopy=False)) :]:
        study.enqueue_trial(dict(values))
    mark = uuid4().hex
    write_whole(search.out / MARK, mark)
    study.set_user_attr("mark", mark)


def _check(study: optuna.Study, search: Search) -> None:
    for key, word in MUST_AGREE.items():
        found, must = study.user_attrs.get(key), search.attributes[key]
        if found != must:
            kept = kept_study(search.out)
            what = changed(kept.read_text(), search.file.text) if key == "digest" and kept.exists() else ""
            raise StorageError(
                f"study {study.study_name!r} in this storage was made with another {word} "
                f"({what or f'{found} there, {must} here'}); give another --name, or undo the change"
            )
    was, here = Path(study.user_attrs["out"]), search.out.resolve()
    if mark_of(here) != study.user_attrs["mark"]:
        raise StorageError(
            f"a study and its workers must share one results folder, that made as {was}, but {here} is not that one; "
            "give the --out where it is now, on a disk that all machines share, or another --name"
        )
    if was != here and mark_of(was) == study.user_attrs["mark"]:
        raise StorageError(
            f"a study must have one results folder, but {here} is a copy of {was}, which is still there; give "
            f"--out {was.parent}, or move that folder away"
        )
    if was != here:  # it was moved
        study.set_user_attr("out", str(here))


def mark_of(folder: Path) -> str:
    """The mark of the study whose folder this is; "" if it is no study's."""
    try:
        return (folder / MARK).read_text()
    except FileNotFoundError:
        return ""


def run(search: Search, study: optuna.Study, pool: Pool, trials: int, watcher: Watcher) -> None:
    """Trials until the study has `trials` of them in all.

    A trial that is interrupted (Ctrl-C, or the process is killed) keeps its finished folds and is taken up by the
    next call; one whose database is lost, as soon as that is back.

    Raises:
        MerSearchError: after three failures in a row; the first one's traceback is in its folder.
    """
    persist(study._storage, lambda: _run(search, study, pool, trials, watcher), watcher.waiting)


def _run(search: Search, study: optuna.Study, pool: Pool, trials: int, watcher: Watcher) -> None:
    known = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.FAIL}
    with open_claims(study._storage, study.study_name) as claims:
        while asked := claims.ask(study, trials, search.file.suggest):
            trial, values = asked
            try:
                watcher.trial(trial.number, ended(study), values)
                with disk():
                    outcome = _evaluate(search, study, trial, values, pool, watcher, claims)
                claims.check(trial._trial_id)
                study.tell(trial, outcome)
            except Infeasible as error:
                claims.check(trial._trial_id)
                go_no_further(trial_folder(search.out, trial.number))
                trial.set_constraint(error.constraint, 1.0)
                trial.set_user_attr("infeasible", str(error))
                if error.constraint == DOES_NOT_FIT:
                    note_need(trial, with_values(search.loaded.run, values))
                # not study.tell, which would make the last subject's log-likelihood the trial's value
                study._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED)
            except (KeyboardInterrupt, DiskError, UsageError):  # no fault of the trial's: a later call takes it up
                # a statement may be cut short, or the trial have ended, or be another's: it is found all the same
                with suppress(UnreachableError, UpdateFinishedTrialError, *UNREACHABLE):
                    claims.check(trial._trial_id)
                    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
                raise
            except (StorageError, *UNREACHABLE):  # it may be another worker's by now
                raise
            except Exception as error:
                claims.check(trial._trial_id)
                go_no_further(trial_folder(search.out, trial.number))
                trial.set_user_attr("error", (str(error) or type(error).__name__)[:1000])
                write_whole(_traceback(search, trial.number), "".join(traceback.format_exception(error)))
                study.tell(trial, state=TrialState.FAIL)
                _stop_after_failures(search, failed_last(study, known))
            claims.drop(trial._trial_id)
            watcher.told(study.get_trials(deepcopy=False)[trial.number], best_trial(study))


def _traceback(search: Search, number: int) -> Path:
    return trial_folder(search.out, number) / "error.txt"


def _stop_after_failures(search: Search, failed: Sequence[FrozenTrial]) -> None:
    if len(failed) >= FAILURES:
        first = failed[0]
        raise MerSearchError(
            f"a trial must run, but {FAILURES} in a row failed, the first with: "
            f"{first.user_attrs['error'].splitlines()[0]}; details in {_traceback(search, first.number)}"
        )


def _evaluate(
    search: Search,
    study: optuna.Study,
    trial: optuna.Trial,
    values: dict[str, Value],
    pool: Pool,
    watcher: Watcher,
    claims: Claims,
) -> list[float]:
    """A trial's UF1 over the study's subjects, or an estimate of it if the race stops it early; and its cost, if that
    is minimised too."""
    try:
        loaded = search.loaded.with_values(values, watcher.preparing)
    except UsageError as error:  # values that are possible one by one, but not together
        raise Infeasible(str(error), "valid configuration") from error
    configured = loaded.run
    foretell(study, trial, configured)
    folder = trial_folder(search.out, trial.number)
    rule, race = RULES[search.file.rule], racing.RACES[search.file.pruner]
    seed = search.seed + _repeats(study, trial)
    rivals = find_rivals(
        study, lambda number: trial_folder(search.out, number), search.loaded, search.subjects, race, rule
    )
    ran = _race(search, trial, loaded, seed, rivals, pool, watcher, claims)
    go_no_further(folder)
    parameters, flop = cost(configured)
    trial.set_user_attr("parameters", parameters)
    trial.set_user_attr("gflop", round(flop / 1e9, 3))
    trial.set_user_attr("fold_epochs", [ran.spent, len(search.subjects) * configured.train.epochs])
    folds = tuple(ran.seen.values())
    watcher.evaluated(trial, Evaluation(configured, folder, search.subjects, folds, ran.epochs, search.file.rule))
    if ran.estimate is not None:
        trial.set_user_attr("stopped_after", len(folds))
        trial.set_user_attr("stopped_epochs", ran.epochs)
        return [ran.estimate]
    value = pooled_uf1(list(folds), rule)
    return [value, trial.user_attrs[search.file.also]] if search.file.also else [value]


class _Ran(NamedTuple):
    """How far a trial went."""

    seen: dict[str, Predictions]  # of the subjects that reached its last rung
    epochs: int  # of that
    spent: int  # fold-epochs, those cut short aside
    estimate: float | None  # of its UF1, if it was stopped


def _race(
    search: Search,
    trial: optuna.Trial,
    loaded: Loaded,
    seed: int,
    rivals: Rivals,
    pool: Pool,
    watcher: Watcher,
    claims: Claims,
) -> _Ran:
    """Train a trial's folds from rung to rung, as long as it may still win."""
    race, epochs = rivals.race, loaded.run.train.epochs
    order = racing.order(search.subjects, search.seed, trial.number)
    reported = trial.study._storage.get_trial(trial._trial_id).intermediate_values  # before an interruption
    spent, before, pieces = 0, 0, 1

    def on_epoch(epoch: Epoch) -> None:
        nonlocal pieces
        if epoch.pieces > pieces:
            trial.set_user_attr("pieces", pieces := epoch.pieces)
        watcher.epoch(epoch, (loaded.run.units if epoch.stage == 1 else loaded.run.train).epochs)

    for rung, until in enumerate(race.stops(epochs)):
        mark = rivals.mark(until)
        seen: dict[str, Predictions] = {}
        scores: dict[int, float] = {}
        folds = finish_folds(
            pool,
            loaded.tensors,
            loaded.run,
            [(seed, subject) for subject in order],
            trial_folder(search.out, trial.number),
            on_epoch,
            turn=partial(claims.ours, trial._trial_id),
            until=until,
        )
        with closing(folds):
            for fold in folds:
                seen[fold.subject] = fold
                spent += until - before
                done, of = rung * len(order) + len(seen), len(race.rungs) * len(order)
                watcher.fold(fold.subject, done, of, pooled_uf1(list(seen.values()), rivals.rule))
                place = search.subjects.index(fold.subject)
                scores[place] = rivals.score(fold)
                step = rung * len(order) + place
                if step not in reported and not search.file.also:  # of two objectives, Optuna takes none in between
                    trial.report(scores[place], step)
                compared = race.compares(len(seen) == len(order), until == epochs)
                if mark is not None and compared and rivals.beat(scores, mark):
                    return _Ran(seen, until, spent, rivals.estimate(scores, mark))
        before = until
    return _Ran(seen, epochs, spent, None)


def kept_study(out: Path) -> Path:
    """Where a study's file is kept, in its folder."""
    return out / "study.toml"


def trial_folder(out: Path, number: int) -> Path:
    """Where a trial's files are."""
    return out / f"trial-{number:04d}"


def _repeats(study: optuna.Study, trial: optuna.Trial) -> int:
    """How many earlier trials had the same values: a repeat runs with another seed, so that it tells something new."""
    return sum(other.params == trial.params for other in study.get_trials(deepcopy=False)[: trial.number])
