"""Confirmation: all subjects, fresh seeds, and nothing chosen on the way. What it says can be believed."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from mer_search.config import Data, digest
from mer_search.confirmation.target import Target
from mer_search.data import fit, shared_subjects
from mer_search.engine.executor import Executor
from mer_search.engine.task import Finished
from mer_search.engine.task import Progress as Trained
from mer_search.engine.where import Where
from mer_search.errors import MerSearchError, UsageError
from mer_search.evaluation.predictions import Predictions
from mer_search.files import sweep
from mer_search.model.flops import network_bytes, step_flop
from mer_search.search.cost import NOTHING, Cost, fold_flop, slot_speed
from mer_search.search.scheduler import Job, Scheduler, Want, list_job
from mer_search.search.storage import held
from mer_search.search.workspace import Loaded, Progress, load_data
from mer_search.training.fold_store import Key, check_motion, check_whole, claim, copy_equal_folds, load_folds
from mer_search.training.loop import Epoch


@dataclass(frozen=True)
class Confirmation:
    """A configuration to confirm, the folds and the seeds."""

    target: Target
    loaded: Loaded
    folds: tuple[str, ...]  # by what they leave out: subjects, or databases
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        found, must = self.loaded.run.data.checksum, self.target.checksum
        if must and found != must and not self.is_transfer:
            raise UsageError(
                f"{self.target.title} must be confirmed on the clips that it was searched on (checksum "
                f"{must}), but {self.loaded.folder.path} has {found}; give the study's --data and --task, or the "
                "--data of another dataset"
            )
        if self.target.trained and not self.is_transfer:
            check_motion(self.target.trained, self.loaded.motion_digest)
        for trial in self.corrects:
            check_whole(trial, self.target.tuning)

    @property
    def is_transfer(self) -> bool:
        """Whether this is another dataset than the one that was searched on."""
        return bool(self.target.checksum) and self.loaded.run.data.dataset != self.target.run.data.dataset

    @property
    def has_searched_folds(self) -> bool:
        """Whether its folds are of the data and the kind that its search had."""
        same = self.loaded.run.data.leave_out == self.target.leave_out
        return bool(self.target.checksum) and same and not self.is_transfer

    @property
    def corrects(self) -> tuple[Path, ...]:
        """The trials by which the search's best is corrected for its choosing; () on other folds than the search's."""
        return self.target.trials if self.has_searched_folds else ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects that its folds test."""
        return self.loaded.tested_by(self.folds)

    @property
    def tuning(self) -> tuple[str, ...]:
        """The subjects that the search scored; of another dataset, those that it shares with the search's."""
        if self.is_transfer:
            return shared_subjects(self.loaded.clips, self.target.run.data.dataset, self.target.tuning)
        return self.loaded.tested_by(self.target.tuning)

    @property
    def tuned(self) -> dict[str, bool]:
        """Its subjects, and whether the search scored each."""
        tuning = self.tuning
        return {subject: subject in tuning for subject in self.subjects}

    @property
    def databases(self) -> dict[str, tuple[str, ...]]:
        """The subjects of each database that the data are composed of; {} of a single one."""
        owner = {clip.subject: clip.database for clip in self.loaded.clips}
        found: dict[str, tuple[str, ...]] = {}
        for subject in sorted(self.subjects, key=lambda each: owner[each]):
            found[owner[subject]] = (*found.get(owner[subject], ()), subject)
        return found if len(found) > 1 else {}

    @property
    def is_whole(self) -> bool:
        """Whether it is of all folds, so that for each subject there is a network that never saw it."""
        return set(self.folds) == set(self.loaded.folds)

    @property
    def store(self) -> Path:
        """Where its folds are, whichever subjects are asked for. The name of a preset, or of a trial on another
        dataset or with other folds, is followed by the digest of data and configuration."""
        folder = self.target.folder
        return folder if self.has_searched_folds else folder.with_name(f"{folder.name}-{digest(self.loaded.run)[:8]}")

    @property
    def folder(self) -> Path:
        """Where its results are. The name of some of the folds' is followed by theirs, so that it does not take the
        place of the whole."""
        if self.is_whole:
            return self.store
        names = hashlib.sha256(" ".join(self.folds).encode()).hexdigest()[:6]
        left_out = self.loaded.run.data.leave_out
        return self.store.with_name(f"{self.store.name}-{len(self.folds)}-{left_out}s-{names}")

    @property
    def wanted(self) -> list[Key]:
        """Its folds, by their seeds."""
        return [(seed, fold) for seed in self.seeds for fold in self.folds]

    @property
    def missing(self) -> list[Key]:
        """Its folds that are not on disk."""
        there = load_folds(self.store)
        return [key for key in self.wanted if key not in there]


def groups_of(tuned: Mapping[str, bool], databases: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The groups of subjects that have figures of their own: `all`; where the search scored some of them (which `tuned`
    tells), `other`, the ones that it never scored, and `tuning`; and each database of a composite."""
    groups = {"all": tuple(tuned)}
    if len(set(tuned.values())) > 1:
        groups["other"] = tuple(subject for subject, scored in tuned.items() if not scored)
        groups["tuning"] = tuple(subject for subject, scored in tuned.items() if scored)
    return groups | dict(databases)


def prepare(
    targets: Sequence[Target], path: Path, subjects: str, seeds: Sequence[int], progress: Progress
) -> list[Confirmation]:
    """The configurations on the same clips, subjects (as in a study file) and seeds; motion that they share is loaded
    once."""
    _check_same("data.leave_out", {target.run.data.leave_out: target.title for target in targets}, "give --leave-out")
    tasks = {target.run.data.task or "the dataset's first": target.title for target in targets}
    _check_same("data.task", tasks, "give --task, or fewer networks")
    known: dict[str, Loaded] = {}
    jobs: list[Confirmation] = []
    for target in targets:
        run = target.run
        key = digest(Data(task=run.data.task), *run.motion)
        if key in known:
            loaded = replace(known[key], run=fit(run, known[key].folder, known[key].clips))
        else:
            loaded = known[key] = load_data(path, run, progress, subjects)
        jobs.append(Confirmation(target, loaded, jobs[0].folds if jobs else loaded.select(subjects), tuple(seeds)))
    checksums = {job.loaded.run.data.checksum: job.target.title for job in jobs}
    _check_same("clips and labels (by checksum)", checksums, "see `mer-search data check`")
    return jobs


def _check_same(what: str, titles: Mapping[str, str], advice: str) -> None:
    """Raise UsageError unless all networks have the same value of what makes folds comparable: value -> a title."""
    if len(titles) > 1:
        found = " and ".join(f"{title} has {value}" for value, title in titles.items())
        raise UsageError(f"networks that are compared must have the same {what}, but {found}; {advice}")


OnEpoch = Callable[[str, Epoch], None]  # a confirmation's title, and an epoch of one of its folds
Announce = Callable[[Sequence[Confirmation], Sequence[Cost], int], None]  # what is to be trained, in so many slots


def confirm_all(
    jobs: Sequence[Confirmation],
    where: Where,
    progress: Progress,
    announce: Announce,
    on_epoch: OnEpoch = lambda title, epoch: None,
) -> list[list[Predictions]]:
    """The folds of every confirmation, by subject; those that are not on disk yet are trained, after their cost was
    announced, and those that several need once."""
    stores = {job.store: job for job in jobs}
    for store, job in stores.items():
        copy_equal_folds(store, job.loaded.run, job.loaded.motion_digest)
    if not any(job.missing for job in jobs):
        announce(jobs, [NOTHING] * len(jobs), 0)
    else:
        largest = max((job.loaded.run for job in jobs), key=step_flop)
        with ExitStack() as stack:
            for store in sorted(stores):
                stack.enter_context(held(store))
            progress("starting workers", 0, 1)
            executor = stack.enter_context(where.open(largest, exact=True))
            progress("starting workers", 1, 1)
            announce(jobs, confirmation_costs(jobs, executor, progress), executor.slots)
            train(jobs, executor, progress, on_epoch)
    there = {store: load_folds(store) for store in stores}
    return [[part for key in job.wanted for part in there[job.store][key].by_subject()] for job in jobs]


def confirmation_costs(jobs: Sequence[Confirmation], executor: Executor, progress: Progress) -> list[Cost]:
    """Of the folds of each confirmation that are not on disk, nor an earlier one's too."""
    costs: list[Cost] = []
    counted: set[Path] = set()
    for job in jobs:
        missing = 0 if job.store in counted else len(job.missing)
        counted.add(job.store)
        step = step_flop(job.loaded.run)
        flop = fold_flop(job.loaded.run, step, len(job.loaded.clips)) * missing
        speed = slot_speed(job.loaded, step, executor, progress) if missing else math.inf
        seconds = flop / speed / max(1, min(executor.slots, missing))
        costs.append(Cost(bool(missing), missing, flop, seconds, missing * network_bytes(job.loaded.run)))
    return costs


def train(
    jobs: Sequence[Confirmation], executor: Executor, progress: Progress, on_epoch: OnEpoch = lambda title, epoch: None
) -> None:
    """Train the folds that are not on disk, and keep their networks; those of equal configurations once."""
    runs: dict[Path, Job] = {}
    for each in jobs:
        if each.store not in runs:
            sweep(each.store)
            claim(each.store, each.loaded.run, each.loaded.motion_digest)
            wanted = [Want(*key, each.loaded.run.train.epochs) for key in each.wanted]
            runs[each.store] = list_job(each.target.short, each.loaded, each.store, wanted, each.target.keep)
    left = iter(runs.values())
    with closing(Scheduler(executor, len(runs)).run(lambda: next(left, None))) as events:
        for job, event in events:
            if isinstance(event, Trained):
                on_epoch(job.name, event.epoch)
            if isinstance(event, Trained | Finished):
                progress(f"{job.name}: folds", *job.progress)
            if job.error:
                raise MerSearchError(
                    f"{job.name} must be trained on all folds, but one cannot: {job.error}; those that are finished "
                    "are kept, and the same command goes on from here"
                ) from job.error
