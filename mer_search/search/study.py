"""The study: ask for values, train them on its subjects, tell the result; go on where an earlier call stopped.

One process owns a study. It may have several trials in flight; they are told in the order of their numbers, and exactly
one is asked for after each that is told. So what the sampler and the pruner know depends on the seed and on the number
of trials in flight, and not on how many workers there are or how fast they are.
"""

import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from mer_search.engine.task import Failed, Finished, Progress
from mer_search.errors import (
    CLIPS_DO_NOT_FIT,
    DOES_NOT_FIT,
    DataError,
    DiskError,
    Infeasible,
    MerSearchError,
    StorageError,
    UsageError,
)
from mer_search.files import REFUSALS, disk, sweep, write_whole
from mer_search.search.memory_limit import BYTES, training_bytes
from mer_search.search.optuna_internals import prune_without_value, wait_again
from mer_search.search.resume import KEPT, MARK, check_agrees, check_folder, file_of
from mer_search.search.samplers import sampler
from mer_search.search.scheduler import Job, Scheduler, Want, list_job
from mer_search.search.storage import TAKEN_FROM, has_ended, ran_to_its_end
from mer_search.search.takeover import begin, contained
from mer_search.search.trial import SEED, TOLD, Evaluation, Search, evaluation_job, failed_job, forget_folds, repeats
from mer_search.search.workspace import Progress as LoadProgress
from mer_search.search.workspace import silent
from mer_search.training.fold_store import claim, go_no_further, lacking
from mer_search.training.loop import Epoch

FAILURES = 3  # consecutive failures that end a run


def open_study(
    search: Search, storage: optuna.storages.BaseStorage, name: str, source: optuna.Study | None = None
) -> optuna.Study:
    """The study of that name, new or to be gone on with, for a process that holds it.

    Trials that were interrupted wait to be taken up again under their own numbers, with what they had finished. A new
    study has the trials of the study `source` that its space contains: UsageError if there is none, or the values of
    the two cannot be compared. StorageError if a study of that name has another space, data, subjects, seed, source or
    folder.
    """
    # What cannot be taken is refused before anything is made.
    if source and name not in optuna.get_all_study_names(storage) and not contained(search, source):
        raise UsageError(
            f"the space must contain trials of {source.study_name!r}, but none has all values of [set] and lies on the "
            "axes; make it as wide as theirs, or leave out --from"
        )
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][: 2 if search.file.also else 1]
    study = optuna.create_study(study_name=name, storage=storage, directions=directions, load_if_exists=True)
    if "mark" not in study.user_attrs:  # new, or its creation was interrupted
        others = set(study.user_attrs) - {*search.attributes, TAKEN_FROM}
        if others or (not study.user_attrs and study.get_trials()) or study.directions != directions:
            raise StorageError(
                f"study {name!r} in this storage was not made by mer-search, but by another program that uses Optuna; "
                "give another --study-name"
            )
        _make(study, search, source)
    if source and study.user_attrs.get(TAKEN_FROM, {}).get("study") != source.study_name:
        raise StorageError(
            f"trials can be taken into a new study only, but {name!r} is there already; give another --study-name, or "
            "leave out --from"
        )
    check_agrees(name, study.user_attrs, search.attributes, search.file.text)
    for key in ("out", "data"):  # which may have been moved
        if study.user_attrs[key] != search.attributes[key]:
            study.set_user_attr(key, search.attributes[key])
    sweep(search.out)
    try:
        file_of(study)
    except DataError:
        write_whole(search.out / KEPT, search.file.text)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        wait_again(study, trial)
    return study


def _make(study: optuna.Study, search: Search, source: optuna.Study | None) -> None:
    """What a new study has. The last thing is the mark, which makes its folder known on whichever machine."""
    begun = study.user_attrs.get(TAKEN_FROM)
    if begun and (source is None or source.study_name != begun["study"]):
        raise StorageError(
            f"study {study.study_name!r} was interrupted while it took the trials of {begun['study']!r}; give --from "
            f"{begun['study']}, or another --study-name"
        )
    taken = contained(search, source) if source else []
    taken = [each for each in taken if each[0].number in begun["trials"]] if begun else taken
    if not begun and next(search.out.glob("trial-*"), None):
        raise StorageError(
            f"a new study needs an empty results folder, but {search.out} holds trials of a study that is not in "
            "this storage; give another --study-name or --out, or delete the folder"
        )
    if source:
        told = {"study": source.study_name, "trials": [trial.number for trial, *_ in taken]}
        study.set_user_attr(TAKEN_FROM, told)
    for key, value in search.attributes.items():
        study.set_user_attr(key, value)
    begin(search, study, taken)
    mark = uuid4().hex
    write_whole(search.out / MARK, mark)
    study.set_user_attr("mark", mark)


class Trained(NamedTuple):
    """A fold of a trial has trained an epoch."""

    number: int
    epoch: Epoch
    of: int


class Scored(NamedTuple):
    """A fold of a trial is on disk."""

    number: int
    subject: str
    done: int
    of: int


class Restored(NamedTuple):
    """A fold that an ended trial had lost is on disk again."""

    number: int
    subject: str


class Lost(NamedTuple):
    """A worker process died while it trained a fold, which is trained again."""

    number: int
    subject: str
    cause: str


class Told(NamedTuple):
    """A trial has ended."""

    trial: FrozenTrial

    def __str__(self) -> str:
        return f"Told(trial {self.trial.number}, {self.trial.state.name}, values {self.trial.values})"


# An Evaluation is the last moment to attach something to a trial.
Event = Trained | Scored | Restored | Lost | Evaluation | Told


def run(
    search: Search, study: optuna.Study, scheduler: Scheduler, trials: int, progress: LoadProgress = silent
) -> Generator[Event]:
    """Run trials until the study, which this process alone has opened, has `trials` of them in all, earlier calls
    counted in; yield what happens.

    A trial that is interrupted (a stop, or the process is killed) keeps its finished folds and is taken up by the next
    call. MerSearchError after three failures in a row; the first one's traceback is in its folder.
    """
    forget_folds()
    folder = search.out.resolve()
    known = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.FAIL}
    flight: dict[int, optuna.Trial] = {}

    def ask() -> Job | None:
        there = study.get_trials(deepcopy=False)
        if sum(map(has_ended, there)) + len(flight) >= trials:
            return None
        # A new sampler for every trial: what it draws depends on the seed, the trial's number and the results that
        # there are, so that a study that was stopped, wherever, draws on as if it had not been.
        waiting = next((each for each in there if each.state == TrialState.WAITING), None)
        study.sampler = sampler(search.file.sampler, search.seed, waiting.number if waiting else len(there))
        trial = study.ask()
        flight[trial.number] = trial
        if waiting:
            _draw_again(search, study, trial, waiting)
        if TOLD not in trial.user_attrs:
            trial.set_user_attr(TOLD, min(flight))
        try:
            if waiting:  # enqueued by somebody, perhaps, with values that need not be of the space
                search.file.check(waiting.system_attrs.get("fixed_params", {}))
        except UsageError as error:
            return failed_job(search, trial, Infeasible(str(error), "valid configuration"))
        return evaluation_job(search, there, trial, search.file.suggest(trial), progress)

    try:
        for job, event in scheduler.run(ask):
            if event is not None:
                yield _shown(job.name, event)
                continue
            if isinstance(job.name, Evaluation) and job.error is None:
                yield job.name
            trial = flight[job.name.number]
            check_folder(study.user_attrs, folder, folder)
            with disk():
                _tell(search, study, trial, job)
            del flight[trial.number]
            told = study.get_trials(deepcopy=False)
            stop_after_failures(search, told, known)
            yield Told(told[trial.number])
    finally:
        for trial in flight.values():  # no fault of theirs: a later call takes them up
            with suppress(UpdateFinishedTrialError, StorageInternalError):
                wait_again(study, trial)


def _draw_again(search: Search, study: optuna.Study, trial: optuna.Trial, waiting: FrozenTrial) -> None:
    """Of a trial that was killed while it was drawn, draw what it has, and forget it: values that are drawn one after
    the other are then what they would have been."""
    try:
        search.file.suggest(FixedTrial(waiting.params))
    except ValueError:  # values are missing
        apart = {*trial.relative_params, *waiting.system_attrs.get("fixed_params", {})}  # drawn together, or not at all
        for name, distribution in waiting.distributions.items():
            if name not in apart:
                study.sampler.sample_independent(study, waiting, name, distribution)


def restore(
    search: Search, study: optuna.Study, scheduler: Scheduler, progress: LoadProgress = silent
) -> Generator[Restored | Lost]:
    """Train again, as they were, the folds that trials which ran to their end lack: files that were damaged and
    deleted. What is computed of all trials needs them. Yield what happens."""
    trials, jobs = study.get_trials(deepcopy=False), {}
    for trial in filter(ran_to_its_end, trials):
        folder = search.folder(trial.number)
        if lost := lacking(folder, search.subjects):
            seed = trial.user_attrs.get(SEED, search.seed + repeats(trials, trial))
            jobs[folds_job(search, trial, folder, seed, lost, progress)] = trial.number
    for event in train_lists(scheduler, jobs):
        yield Restored(event.number, event.subject) if isinstance(event, Scored) else event


def folds_job(
    search: Search, trial: FrozenTrial, folder: Path, seed: int, subjects: Sequence[str], progress: LoadProgress
) -> Job:
    """The job that trains folds of an ended trial's configuration to their end, with a seed, into a folder."""
    loaded = search.loaded.with_values(search.file.tied(trial.params), progress)
    claim(folder, loaded.run, loaded.motion_digest)
    wanted = [Want(seed, subject, loaded.run.train.epochs) for subject in subjects]
    return list_job(f"trial {trial.number}", loaded, folder, wanted)


def train_lists(scheduler: Scheduler, jobs: Mapping[Job, int]) -> Generator[Scored | Lost, None, dict[int, Any]]:
    """Train lists of folds, each of the trial of that number; yield what happens, and return the jobs' outcomes by
    these. MerSearchError if a fold cannot be trained."""
    found = {}
    with closing(scheduler.run(partial(next, iter(jobs), None))) as events:
        for job, event in events:
            if isinstance(event, Finished):
                yield Scored(jobs[job], event.task.subject, *job.progress)
            elif isinstance(event, Failed):
                yield Lost(jobs[job], event.task.subject, event.cause)
            elif event is None and job.error:
                raise job.error
            elif event is None:
                found[jobs[job]] = job.outcome
    return found


def _shown(evaluation: Evaluation, event: Progress | Finished | Failed) -> Event:
    """What is told of an epoch or a fold."""
    if isinstance(event, Progress):
        schedule = evaluation.run.units if event.epoch.stage == 1 else evaluation.run.train
        evaluation.microbatches = max(evaluation.microbatches, event.epoch.microbatches)
        return Trained(evaluation.number, event.epoch, schedule.epochs)
    if isinstance(event, Failed):
        return Lost(evaluation.number, event.task.subject, event.cause)
    return Scored(evaluation.number, event.task.subject, evaluation.done, len(evaluation.plan))


def _tell(search: Search, study: optuna.Study, trial: optuna.Trial, job: Job) -> None:
    """End a trial with its values, or with what went wrong; raise what is no fault of the trial's."""
    error, folder = job.error, search.folder(trial.number)
    if isinstance(error, DiskError | UsageError | StorageError | StorageInternalError):
        raise error
    if isinstance(error, OSError) and error.errno in REFUSALS:
        raise error
    same_clips = job.loaded.dataset == search.loaded.dataset
    if isinstance(error, Infeasible) and error.constraint == CLIPS_DO_NOT_FIT and same_clips:
        raise MerSearchError(str(error))  # no trial's values change that
    go_no_further(folder)
    if error is None:
        study.tell(trial, job.outcome)
    elif isinstance(error, Infeasible):
        trial.set_constraint(error.constraint, 1.0)
        trial.set_user_attr("infeasible", str(error))
        if error.constraint == DOES_NOT_FIT and job.plan:  # it was tried
            trial.set_user_attr(BYTES, training_bytes(job.loaded.run))
        prune_without_value(study, trial)
    else:
        trial.set_user_attr("error", (str(error) or type(error).__name__)[:1000])
        write_whole(folder / "error.txt", "".join(traceback.format_exception(error)))
        study.tell(trial, state=TrialState.FAIL)


def stop_after_failures(search: Search, trials: Sequence[FrozenTrial], known: set[int]) -> None:
    """Raise MerSearchError if the latest of a study's trials, by their numbers, have failed; those `known` aside."""
    latest = (trial for trial in reversed(trials) if trial.state.is_finished())
    failed = list(takewhile(lambda trial: trial.state == TrialState.FAIL and trial.number not in known, latest))
    if len(failed) >= FAILURES:
        first = failed[-1]
        raise MerSearchError(
            f"a trial must run, but {FAILURES} in a row failed, the first with: "
            f"{first.user_attrs['error'].splitlines()[0]}; details in {search.folder(first.number) / 'error.txt'}"
        )
