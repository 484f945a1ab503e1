"""What run and confirm both need: a folder's clips and their motion, ready to train on."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path

from mer_search.config import Run, Value, digest, with_values
from mer_search.data import Folder, fit, open_folder
from mer_search.data.clips import Clip, Problem, enough, subject_number
from mer_search.data.store import Motion, load
from mer_search.data.synthetic.dataset import write_dataset
from mer_search.errors import DataError, UsageError
from mer_search.evaluation.folds import RANKED, select_subjects
from mer_search.training.dataset import Clips

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)


def silent(what: str, done: int, total: int) -> None:
    """A progress that is not shown."""


@dataclass(frozen=True)
class Loaded:
    """A dataset ready to train on: the usable clips, their motion, and the run fitted to them."""

    folder: Folder
    clips: tuple[Clip, ...]
    problems: tuple[Problem, ...]
    run: Run
    tensors: Clips  # the clips and their motion again, as executors take them
    motion_digest: str  # of the frames' pixels, and of how the motion was measured

    @property
    def motion(self) -> Motion:
        """The clips' motion: the tensors' own memory, which processes share."""
        own = self.tensors
        onset = None if own.onset is None else own.onset.numpy()
        return Motion(own.flow.numpy(), onset, own.first.numpy(), own.sets.numpy(), self.motion_digest)

    @cached_property
    def dataset(self) -> str:
        """A name for the clips and their motion: other clips, or other motion of them, have another."""
        return digest(self.run.data, *self.run.motion)

    @property
    def subjects(self) -> list[str]:
        """Each clip's subject."""
        return self.tensors.subjects

    @property
    def folds(self) -> list[str]:
        """The fold that tests each clip: its subject, or its database."""
        return self.tensors.folds

    def tested_by(self, folds: Sequence[str]) -> tuple[str, ...]:
        """The subjects that folds test, in their order."""
        own = {name: {clip.subject for clip in self.clips if name in {clip.subject, clip.database}} for name in folds}
        return tuple(dict.fromkeys(subject for name in folds for subject in sorted(own[name]) or [name]))

    @property
    def labels(self) -> NDArray[np.int64]:
        """Each clip's class number."""
        return np.asarray(self.tensors.labels)

    def with_values(self, values: Mapping[str, Value], progress: Progress) -> "Loaded":
        """The same clips for the run with these values; their motion is measured anew if it depends on them. DataError
        if a clip cannot be used so."""
        run = fit(with_values(self.run, values), self.folder, self.clips)
        if digest(*run.motion) == digest(*self.run.motion):
            return replace(self, run=run)
        other = load_data(self.folder.path, run, progress)
        if (found := other.run.data.checksum) != self.run.data.checksum:
            raise DataError(
                f"every trial must have the same clips, but with {values} they are others (checksum {found} instead of "
                f"{self.run.data.checksum}); `mer-search data check` says what is wrong with them"
            )
        return other

    def select(self, text: str) -> tuple[str, ...]:
        """Folds as a study file or `--subjects` names them, by the subjects or databases that they leave out: see
        `_select`."""

        def by_baseline() -> tuple[str, ...]:
            from mer_search.evaluation.baselines import hardest_first  # scikit-learn takes two seconds to load

            return hardest_first(self.motion, self.labels, self.folds)

        return _select(self.folder, self.clips, self.run.data.leave_out, text, by_baseline)


def _select(
    folder: Folder, clips: Sequence[Clip], leave_out: str, text: str, by_baseline: Callable[[], Sequence[str]]
) -> tuple[str, ...]:
    """`hardest` by the published list or by a baseline, which ranks all folds, `stratified` by a baseline. The name of
    one of a composite's databases, or of another published list, stands for its subjects."""
    present, rule = {clip.fold(leave_out) for clip in clips}, text.strip().partition("_")[0]
    ranked: Sequence[str] = ()
    if rule == "hardest":
        ranked = tuple(name for name in folder.dataset.hardest if name in present)
    if rule in RANKED and not ranked:
        ranked = by_baseline()
    lists = folder.dataset.lists.items()
    databases = {name: present & set(members) for name, members in lists if present & set(members)}
    for clip in clips:
        databases.setdefault(clip.database, set()).add(clip.fold(leave_out))
    try:
        return select_subjects(text, sorted(present), ranked, databases)
    except UsageError as error:
        words = set(re.findall(r"\w+", text))
        lost = [name for name in folder.subjects_without_clips if words & {name, str(subject_number(name))}]
        why = f"; all clips of {', '.join(lost)} are left out, see `mer-search data check`" if lost else ""
        raise UsageError(f"{error}{why}") from error


def cache() -> Path:
    """The user's cache folder: synthetic clips and the flow store."""
    return user_cache_path("mer-search")


def chosen_data(path: Path | None) -> Path | None:
    """The data's folder: `path`, else MER_SEARCH_DATA, else None."""
    return path or (Path(found) if (found := os.environ.get("MER_SEARCH_DATA")) else None)


def find_data(path: Path | None, progress: Progress) -> Path:
    """The data's folder: `path`, else MER_SEARCH_DATA, else the synthetic set, which is made where it is not there."""
    chosen, synthetic = chosen_data(path), cache() / "synthetic"
    if chosen and chosen.resolve() != synthetic.resolve():
        return chosen
    try:
        cache().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the synthetic clips need a folder that can be written, but {cache()} is none ({error.strerror}); set "
            "XDG_CACHE_HOME to another, or give --data"
        ) from error
    with FileLock(cache() / "synthetic.lock"):
        if not synthetic.exists():
            write_dataset(synthetic, on_clip=lambda done, total: progress("making synthetic clips", done, total))
    return synthetic


def load_data(path: Path, run: Run, progress: Progress, subjects: str = "all") -> Loaded:
    """Read a dataset's folder for the run's task, and its motion, and fit the run to it. Of the `subjects` that will be
    selected a wrong name fails before any motion is measured."""
    folder = open_folder(path, run.data.task)
    fit(run, folder, folder.clips)
    left_out = run.data.leave_out
    _select(folder, folder.clips, left_out, subjects, lambda: sorted({clip.fold(left_out) for clip in folder.clips}))
    clips, motion, problems = load(
        folder.clips, run, cache() / "flow", lambda done, total: progress("clips and their motion", done, total)
    )
    if not enough(clips):
        raise DataError(
            f"a run needs clips of two subjects and two classes at least, but the usable ones of {path} are of "
            f"{len({clip.subject for clip in clips})} and {len({clip.label for clip in clips})}; "
            "`mer-search data check` says what is wrong with the others"
        )
    run = fit(run, folder, clips)
    labels = np.array([run.data.classes.index(clip.label) for clip in clips], dtype=np.int64)
    tensors = Clips.of(clips, motion, labels, run.data.leave_out)
    return Loaded(folder, tuple(clips), (*folder.problems, *problems), run, tensors, motion.digest)
