"""What run and confirm both need: a folder's clips and their motion, ready to train on."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path

from mer_search.config import Run
from mer_search.data import Folder, fit, open_folder
from mer_search.data.clips import Clip, Problem
from mer_search.data.store import Motion, load
from mer_search.data.synthetic import write_dataset
from mer_search.training.baselines import hardest_first
from mer_search.training.folds import select_subjects

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)


@dataclass(frozen=True)
class Loaded:
    """A dataset ready to train on: the usable clips, their motion, and the run fitted to them."""

    folder: Folder
    clips: tuple[Clip, ...]
    motion: Motion
    problems: tuple[Problem, ...]
    run: Run

    @property
    def subjects(self) -> list[str]:
        """Each clip's subject."""
        return [clip.subject for clip in self.clips]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Each clip's class number."""
        return np.array([self.run.data.classes.index(clip.label) for clip in self.clips], dtype=np.int64)

    def select(self, text: str) -> tuple[str, ...]:
        """Subjects as a study file or `--subjects` names them; `hardest` by the published list or by a baseline."""
        present = set(self.subjects)
        hardest: tuple[str, ...] = ()
        if text.strip().startswith("hardest"):
            hardest = tuple(name for name in self.folder.dataset.hardest if name in present) or hardest_first(
                self.motion, self.labels, self.subjects
            )
        return select_subjects(text, sorted(present), hardest)


def cache() -> Path:
    """The user's cache folder: synthetic clips and the flow store."""
    return user_cache_path("mer-search")


def find_data(path: Path | None, progress: Progress) -> Path:
    """The data's folder: `path`, else MER_SEARCH_DATA, else the synthetic set, which is made once."""
    chosen = path or (Path(found) if (found := os.environ.get("MER_SEARCH_DATA")) else None)
    if chosen:
        return chosen
    synthetic = cache() / "synthetic"
    cache().mkdir(parents=True, exist_ok=True)
    with FileLock(cache() / "synthetic.lock"):
        if not synthetic.exists():
            write_dataset(synthetic, on_clip=lambda done, total: progress("making synthetic clips", done, total))
    return synthetic


def load_data(path: Path, run: Run, progress: Progress) -> Loaded:
    """Read a dataset's folder and its motion, and fit the run to it.

    Raises:
        DataError, UsageError: see data.open_folder, data.store.load and data.fit.
    """
    folder = open_folder(path)
    fit(run, folder, list(folder.clips))
    clips, motion, problems = load(
        folder.clips, run, cache() / "flow", lambda done, total: progress("measuring motion", done, total)
    )
    return Loaded(folder, tuple(clips), motion, (*folder.problems, *problems), fit(run, folder, clips))
