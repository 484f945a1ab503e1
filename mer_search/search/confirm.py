"""Confirmation: all subjects, fresh seeds, and nothing chosen on the way. What it says can be believed."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from mer_search.config import Data, Run, Value, digest, with_values
from mer_search.data import fit
from mer_search.errors import DataError, UsageError
from mer_search.files import sweep
from mer_search.presets import preset
from mer_search.search import space
from mer_search.search.claims import LOOK_AGAIN, Claims
from mer_search.search.storage import find_trial, ran_to_its_end, ranked_trials, results
from mer_search.search.study import kept_study, trial_folder
from mer_search.search.workspace import Loaded, Progress, load_data
from mer_search.training.loso import PREDICTIONS, claim, finish_folds, read_config
from mer_search.training.pool import Pool
from mer_search.training.predictions import Predictions, load

FIRST_SEED = 1000  # a search's seeds lie below


@dataclass(frozen=True)
class Target:
    """A configuration to confirm, and where it comes from."""

    run: Run
    title: str  # "trial 7 of demo", "V3NR"
    folder: Path
    data: Path | None = None  # the study's; None for a preset
    checksum: str = ""  # of the clips that it was searched on
    searched: tuple[str, ...] = ()  # the subjects that the search scored; () without a search
    trials: tuple[Path, ...] = ()  # folders of the search's complete trials


def trial_target(study: optuna.Study, number: int | None) -> Target:
    """A finished trial of a study; the best if `number` is None.

    Raises:
        UsageError: if there is no such trial.
        DataError: if its folder is gone.
    """
    trial, facts = find_trial(study, number), study.user_attrs
    out = results(study)
    complete = tuple(
        trial_folder(out, other.number) for other in study.get_trials(deepcopy=False) if ran_to_its_end(other)
    )
    return Target(
        read_config(trial_folder(out, trial.number) / "config.json"),
        f"trial {trial.number} of {study.study_name}",
        out / "confirm" / f"trial-{trial.number}",
        Path(facts["data"]),
        facts["checksum"],
        tuple(facts["subjects"]),
        complete,
    )


def top_targets(study: optuna.Study, count: int) -> list[Target]:
    """The best trials that ran to their end, the best first.

    Raises:
        UsageError: if there are fewer.
    """
    ranked = ranked_trials(study)
    if len(ranked) < count:
        raise UsageError(
            f"--top must be at most the number of different trials of study {study.study_name!r} that ran to their "
            f"end, {len(ranked)}, but got {count}; those that were stopped early have only an estimate"
        )
    return [trial_target(study, trial.number) for trial in ranked[:count]]


def start_target(study: optuna.Study, preset_name: str, found: Sequence[Target]) -> Target:
    """Where a study's search started: its base preset with the values under [set] and those of the first [[start]]. If
    `preset_name` is given, that preset with the values under [set].

    Args:
        study: whose kept study file is read.
        preset_name: "" for where the search started.
        found: trials of the study; if one of them is the very configuration, it is returned.

    Raises:
        DataError: if the study file was not kept.
        UsageError: for an unknown preset, or one that the settings do not suit.
    """
    kept = kept_study(results(study))
    if not kept.exists():
        raise DataError(
            f"{kept} must hold the study file, but an earlier version did not keep it; run `mer-search run` once more "
            "with it, or leave the comparison out with --against none"
        )
    file = space.parse(kept.read_text(), study.study_name)
    if preset_name:
        run, title = with_values(preset(preset_name), file.settings), f"{preset_name}, set as in the study"
    else:
        run, title = with_values(file.base, file.start[0] if file.start else {}), "the search's start"
    run = run.model_copy(update={"data": found[0].run.data})
    folder = found[0].folder.with_name(f"against-{digest(run)[:8]}")  # the same configuration has the same folds
    other = replace(found[0], run=run, title=title, folder=folder, trials=())
    return next((target for target in found if digest(target.run) == digest(run)), other)


def preset_target(name: str, values: Mapping[str, Value], out: Path) -> Target:
    """A published network with some values of one's own. Its folder's name is completed with the run's digest once the
    data is known."""
    return Target(with_values(preset(name), values), name, out / "presets" / "confirm" / name)


@dataclass(frozen=True)
class Confirmation:
    """What is confirmed, on whom."""

    target: Target
    loaded: Loaded
    subjects: tuple[str, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        found, must = self.loaded.run.data.checksum, self.target.checksum
        if must and found != must and not self.elsewhere:
            raise UsageError(
                f"{self.target.title} must be confirmed on the clips that it was searched on (checksum "
                f"{must}), but {self.loaded.folder.path} has {found}; give the study's --data, or another dataset's"
            )

    @property
    def elsewhere(self) -> bool:
        """Whether this is another dataset than the one that was searched on."""
        return bool(self.target.checksum) and self.loaded.run.data.dataset != self.target.run.data.dataset

    @property
    def searched(self) -> tuple[str, ...]:
        """The subjects that the search scored."""
        return () if self.elsewhere else self.target.searched

    @property
    def digest(self) -> str:
        """Of data and configuration."""
        return digest(self.loaded.run)

    @property
    def store(self) -> Path:
        """Where its folds are, whichever subjects are asked for. The name of a preset, or of a trial on another
        dataset, is followed by the digest of data and configuration."""
        if self.target.checksum and not self.elsewhere:
            return self.target.folder
        return self.target.folder.with_name(f"{self.target.folder.name}-{self.digest[:8]}")

    @property
    def folder(self) -> Path:
        """Where its results are. The name of some of the subjects' is followed by theirs, so that it does not take the
        place of the whole."""
        if set(self.subjects) == set(self.loaded.subjects):
            return self.store
        names = hashlib.sha256(" ".join(self.subjects).encode()).hexdigest()[:6]
        return self.store.with_name(f"{self.store.name}-{len(self.subjects)}-subjects-{names}")

    @property
    def wanted(self) -> list[tuple[int, str]]:
        """Its folds: (seed, subject)."""
        return [(seed, subject) for seed in self.seeds for subject in self.subjects]

    @property
    def folds(self) -> list[Predictions]:
        """Its folds, once all are on disk."""
        on_disk = {(fold.seed, fold.subject): fold for fold in load(self.store / PREDICTIONS)}
        return [on_disk[key] for key in self.wanted]

    @property
    def missing(self) -> list[tuple[int, str]]:
        """Its folds that are not on disk."""
        on_disk = {(fold.seed, fold.subject) for fold in load(self.store / PREDICTIONS)}
        return [key for key in self.wanted if key not in on_disk]

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """`all`, and `unsearched`: the subjects that the search never scored."""
        unsearched = tuple(subject for subject in self.subjects if subject not in self.searched)
        return {"all": self.subjects} | ({"unsearched": unsearched} if unsearched else {})


def prepare(
    targets: Sequence[Target], path: Path, subjects: str, seeds: Sequence[int], progress: Progress
) -> list[Confirmation]:
    """The configurations on the same clips, subjects and seeds; motion that they share is loaded once.

    Args:
        targets: the configurations.
        path: the data's folder.
        subjects: as in a study file.
        seeds: the same for all.
        progress: told of motion that is measured.

    Raises:
        UsageError: for unknown subjects, or if the configurations' data are not the same clips and labels.
    """
    known: dict[str, Loaded] = {}
    jobs: list[Confirmation] = []
    for target in targets:
        run = target.run
        key = digest(Data(task=run.data.task), run.frames, run.prep, run.flow)
        if key in known:
            loaded = replace(known[key], run=fit(run, known[key].folder, known[key].clips))
        else:
            loaded = known[key] = load_data(path, run, progress)
        jobs.append(Confirmation(target, loaded, jobs[0].subjects if jobs else loaded.select(subjects), tuple(seeds)))
    checksums = {job.target.title: job.loaded.run.data.checksum for job in jobs}
    if len(set(checksums.values())) > 1:
        raise UsageError(f"networks can be compared on the same clips and labels only, but theirs are {checksums}")
    return jobs


ClaimsOf = Callable[[str], Claims]  # the claims on the folds of a run, by its digest


def alone(run: str) -> Claims:
    """Nobody else trains folds of that run."""
    return Claims()


def confirm(jobs: Sequence[Confirmation], pool: Pool, progress: Progress, claims_of: ClaimsOf = alone) -> None:
    """Train folds that are not on disk, and that nobody else is training, until all of all confirmations are on disk.
    The first seed's networks are kept as checkpoints.

    Args:
        jobs: one that stands there twice is trained once.
        pool: where folds are trained.
        progress: told of every fold that is trained here.
        claims_of: how folds are shared with others who confirm the same.
    """
    for job in jobs:
        sweep(job.store)
        claim(job.store, job.loaded.run)
    while any(job.missing for job in jobs):
        if not sum(_share(job, pool, progress, claims_of) for job in jobs):
            time.sleep(LOOK_AGAIN)  # the last ones are others'; one of them may be lost


def _share(job: Confirmation, pool: Pool, progress: Progress, claims_of: ClaimsOf) -> int:
    """Train our share of a confirmation's missing folds; how many that were."""
    loaded, missing = job.loaded, job.missing

    def checkpoint(seed: int, subject: str) -> Path | None:
        return job.store / "checkpoints" / f"{subject}.safetensors" if seed == FIRST_SEED else None

    with claims_of(job.digest) as claims, claims.folds(missing, pool.size) as mine:
        before = len(job.wanted) - len(missing)
        trained = finish_folds(
            pool, loaded.tensors, loaded.run, mine, job.store, lambda epoch: None, checkpoint, claims.turn
        )
        with closing(trained):
            for done, _ in enumerate(trained, before + 1):
                progress(f"{job.target.title}: folds", done, len(job.wanted))
    return len(mine)
