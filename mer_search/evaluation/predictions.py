"""Predictions: what a network said about a subject it has never seen, after every epoch. They are always kept."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_search.errors import DataError
from mer_search.evaluation.folds import EVERYBODY
from mer_search.files import check_archive, write_whole


@dataclass(frozen=True)
class Predictions:
    """Of one (run, seed, subject), maybe on its way. Shapes: n clips of the subject, E epochs, K classes.

    A fold that tests a database has its name in the place of the subject's; `by_subject` parts it.
    """

    seed: int
    subject: str
    clips: tuple[str, ...]  # n names, "sub05/EP02_01f"
    labels: NDArray[np.int64]  # (n,)
    probabilities: NDArray[np.float16]  # (E, n, K)
    val_log_likelihood: NDArray[np.float64] | None = None  # (E,) mean of the subjects held out
    unit_names: tuple[str, ...] = ()  # A action units that the first of two stages learns, as annotated
    unit_truth: NDArray[np.float32] | None = None  # (n, A) 1 and 0, NaN where unknown
    unit_probabilities: NDArray[np.float16] | None = None  # (n, A) at the end of the first stage
    whole: "Predictions | None" = None  # the fold of a database that these are one subject's part of

    @property
    def epochs(self) -> int:
        """E."""
        return len(self.probabilities)

    def until(self, epochs: int) -> "Predictions":
        """What they were after so many epochs, at most all."""
        val_log_likelihood = None if self.val_log_likelihood is None else self.val_log_likelihood[:epochs]
        return replace(self, probabilities=self.probabilities[:epochs], val_log_likelihood=val_log_likelihood)

    @property
    def fold(self) -> str:
        """The name of the fold: its subject, or the database that it tests."""
        return (self.whole or self).subject

    def by_subject(self) -> "list[Predictions]":
        """The predictions of each subject that the fold tests; of one subject alone the fold itself."""
        owners = [clip.partition("/")[0] if "/" in clip else self.subject for clip in self.clips]
        if set(owners) == {self.subject}:
            return [self]
        parts = []
        for name in sorted(set(owners)):
            own = [place for place, owner in enumerate(owners) if owner == name]
            part = replace(
                self,
                subject=name,
                clips=tuple(self.clips[place] for place in own),
                labels=self.labels[own],
                probabilities=self.probabilities[:, own],
                unit_truth=None if self.unit_truth is None else self.unit_truth[own],
                unit_probabilities=None if self.unit_probabilities is None else self.unit_probabilities[own],
                whole=self,
            )
            parts.append(part)
        return parts


def grouped(folds: Iterable[Predictions], by: str) -> dict[Any, list[Predictions]]:
    """The folds of each "seed" or "subject", in their order."""
    found: dict[Any, list[Predictions]] = {}
    for fold in folds:
        found.setdefault(getattr(fold, by), []).append(fold)
    return found


def save(path: Path, fold: Predictions) -> None:
    """Write a fold to an npz file, without what is not known."""
    arrays = {name: np.asarray(value) for name, value in vars(fold).items() if value is not None}
    names = arrays.pop("unit_names")
    if len(names):
        arrays["unit_names"] = names
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_whole(path, buffer.getvalue())


def load(path: Path) -> Predictions:
    """The fold in a file that `save` wrote."""
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as stored:
            fold = Predictions(
                int(stored["seed"]),
                str(stored["subject"]),
                tuple(stored["clips"].tolist()),
                stored["labels"],
                stored["probabilities"],
                stored.get("val_log_likelihood"),
                tuple(stored["unit_names"].tolist()) if "unit_names" in stored else (),
                stored.get("unit_truth"),
                stored.get("unit_probabilities"),
            )
        if path.stem != f"{fold.seed}-{fold.subject}":
            raise ValueError(f"it holds the fold of {fold.subject} with seed {fold.seed}")
        _check(fold)
    except Exception as error:  # zipfile, numpy and zlib each have their own
        raise DataError(
            f"{path} must hold a fold's predictions, but cannot be read ({error}); delete it, and `mer-search run` "
            "trains it again if it is a trial's, `mer-search confirm` if it is a confirmation's"
        ) from error
    return fold


def _check(fold: Predictions) -> None:
    """Raise ValueError for what no network can have said: a number that is none would be taken for the largest."""
    shape, classes = fold.probabilities.shape, fold.probabilities.shape[-1]
    tested = len(fold.clips) > 0 or fold.subject == EVERYBODY
    if len(shape) != 3 or not shape[0] > 0 or not len(fold.labels) == len(fold.clips) == shape[1] or not tested:
        raise ValueError(f"{fold.subject} has {len(fold.clips)} clips and probabilities of shape {shape}")
    if fold.labels.dtype.kind not in "iu" or not ((fold.labels >= 0) & (fold.labels < classes)).all():
        raise ValueError(f"the labels of {fold.subject} are not classes 0 to {classes - 1}")
    units = (shape[1], len(fold.unit_names))
    wanted = {"val_log_likelihood": shape[:1], "unit_truth": units, "unit_probabilities": units}
    for name, must in wanted.items():
        if (found := getattr(fold, name)) is not None and found.shape != must:
            raise ValueError(f"{name} of {fold.subject} has the shape {found.shape} instead of {must}")
    for numbers in (fold.probabilities, fold.val_log_likelihood, fold.unit_probabilities):
        if numbers is not None and not (numbers.dtype.kind == "f" and np.isfinite(numbers).all()):
            raise ValueError(f"what is stored of {fold.subject} is not finite")
