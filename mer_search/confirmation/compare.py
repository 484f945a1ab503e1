"""Comparison: networks on the same seeds and folds, person by person, and a verdict that is not shy to say no."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_search.config import digest
from mer_search.confirmation.confirm import Confirmation
from mer_search.errors import DataError
from mer_search.evaluation.metrics import fold_confusion, tail, uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.evaluation.statistics import paired_interval, permutation_p, uf1_interval
from mer_search.files import write_whole

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Contestant:
    """A network and what it scored under the tail rule: (M, S, K, K) confusion matrices of seeds and subjects."""

    name: str
    digest: str
    matrices: NDArray[np.int64]

    @property
    def uf1_by_seed(self) -> NDArray[np.float64]:
        """(M,) UF1 over all subjects."""
        return uf1(self.matrices.sum(1))

    @property
    def uf1(self) -> float:
        return float(self.uf1_by_seed.mean())


def contestant(job: Confirmation, folds: Sequence[Predictions]) -> Contestant:
    """What a network scored, from all its folds."""
    found = {(fold.seed, fold.subject): fold_confusion(fold, tail) for fold in folds}
    matrices = np.array([[found[seed, subject] for subject in job.subjects] for seed in job.seeds])
    return Contestant(job.target.title, digest(job.loaded.run), matrices)


def compare(jobs: Sequence[Confirmation], folds: Sequence[Sequence[Predictions]]) -> "Comparison":
    """The comparison of confirmations on the same subjects and seeds, from all their folds."""
    met = tuple(contestant(job, trained) for job, trained in zip(jobs, folds, strict=True))
    folder = jobs[0].loaded.folder
    return Comparison(met, jobs[0].subjects, jobs[0].seeds, folder.title, folder.synthetic)


def keep(comparison: "Comparison", out: Path) -> None:
    """Write what a comparison found into the folder for results, under its networks' names, for reports."""
    names = re.sub(r"[^\w.]+", "-", " against ".join(each.name for each in comparison.contestants))
    write_whole(_kept(out) / f"{names[:200]}.json", json.dumps(comparison.facts, indent=1))


def kept(out: Path, dataset: str) -> list[dict[str, Any]]:
    """The facts of all comparisons on a dataset that were kept in the folder for results, by their names.

    Raises:
        DataError: if one of them cannot be read.
    """
    found = []
    for path in sorted(_kept(out).glob("*.json")):
        try:
            facts = json.loads(path.read_text())
            found += [facts] * (facts["dataset"] == dataset)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(f"{path} must hold a comparison, but cannot be read ({error}); delete it") from error
    return found


def _kept(out: Path) -> Path:
    return out / "compare"


class Pair(NamedTuple):
    """Two networks, paired over seeds and subjects. `difference` is UF1(first) - UF1(second)."""

    first: Contestant
    second: Contestant
    difference: float
    ci95: tuple[float, float]
    p: float

    @property
    def shown(self) -> bool:
        """Whether a difference is shown."""
        return self.p < SIGNIFICANT and (self.ci95[0] > 0 or self.ci95[1] < 0)

    @property
    def verdict(self) -> str:
        """One line for a person."""
        one, other = self.first.name, self.second.name
        if self.same:
            return f"no difference: {one} and {other} have the same confusion matrix for every subject and seed"
        if self.shown and self.difference < 0:
            return self.turned.verdict
        if self.shown:
            return f"{one} is better than {other}: {self.numbers}"
        few = len(self.first.matrices[0])
        why = f" ({few} subjects are too few to show any)" if 2 / 2**few >= SIGNIFICANT else ""
        return f"no difference shown between {one} and {other}{why}: {self.numbers}"

    @property
    def turned(self) -> "Pair":
        """The same, the second first."""
        low, high = self.ci95
        return Pair(self.second, self.first, -self.difference, (-high, -low), self.p)

    @property
    def same(self) -> bool:
        """Whether both are right and wrong alike."""
        return np.array_equal(self.first.matrices, self.second.matrices)

    @property
    def numbers(self) -> str:
        """The evidence for a person."""
        return (
            f"UF1 {self.first.uf1:.3f} and {self.second.uf1:.3f}, difference {self.difference:+.3f}, "
            f"95 % {self.ci95[0]:+.3f} to {self.ci95[1]:+.3f}, p {'< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'}"
        )


@dataclass(frozen=True)
class Comparison:
    """Two or more networks on the same subjects and seeds."""

    contestants: tuple[Contestant, ...]
    subjects: tuple[str, ...]
    seeds: tuple[int, ...]
    dataset: str
    synthetic: bool

    @property
    def pairs(self) -> list[Pair]:
        """The first against each of the others."""
        return [_pair(self.contestants[0], other) for other in self.contestants[1:]]

    def among(self, subjects: Sequence[str]) -> "Comparison":
        """The same on some of the subjects."""
        places = [self.subjects.index(subject) for subject in subjects]
        some = tuple(replace(each, matrices=each.matrices[:, places]) for each in self.contestants)
        return replace(self, contestants=some, subjects=tuple(subjects))

    @property
    def winner(self) -> str:
        """The network with the highest mean UF1, whether or not a difference is shown; of equals the first."""
        return max(self.contestants, key=lambda each: each.uf1).name

    @property
    def facts(self) -> dict[str, Any]:
        """The comparison as one JSON document."""
        return {
            "dataset": self.dataset,
            "synthetic": self.synthetic,
            "subjects": self.subjects,
            "seeds": self.seeds,
            "winner": self.winner,
            "networks": [
                {
                    "name": each.name,
                    "digest": each.digest,
                    "uf1": each.uf1,
                    "sd": _deviation(each),
                    "ci95": uf1_interval(each.matrices),
                    "uf1_by_seed": each.uf1_by_seed.tolist(),
                    "hits_by_subject": dict(zip(self.subjects, hits(each).tolist(), strict=True)),
                }
                for each in self.contestants
            ],
            "clips_by_subject": dict(zip(self.subjects, self.clips.tolist(), strict=True)),
            "comparisons": [
                {
                    "first": pair.first.name,
                    "second": pair.second.name,
                    "difference": pair.difference,
                    "ci95": pair.ci95,
                    "p": pair.p,
                    "difference_shown": pair.shown,
                    "verdict": pair.verdict,
                }
                for pair in self.pairs
            ],
        }

    @property
    def clips(self) -> NDArray[np.int64]:
        """(S,) clips of each subject."""
        return np.asarray(self.contestants[0].matrices[0].sum((-2, -1)))


def hits(each: Contestant) -> NDArray[np.float64]:
    """(S,) how many clips of each subject were right, mean over seeds."""
    return np.asarray(np.trace(each.matrices, axis1=-2, axis2=-1).mean(0))


def _deviation(each: Contestant) -> float | None:
    return float(each.uf1_by_seed.std(ddof=1)) if len(each.matrices) > 1 else None


def _pair(first: Contestant, second: Contestant) -> Pair:
    return Pair(
        first,
        second,
        first.uf1 - second.uf1,
        paired_interval(first.matrices, second.matrices),
        permutation_p(first.matrices, second.matrices),
    )
