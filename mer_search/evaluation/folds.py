"""Folds: who is trained on and who is tested, from subjects' names alone."""

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_search.data.clips import subject_number
from mer_search.errors import UsageError

EVERYBODY = "everybody"  # a fold that leaves no subject out; a subject or a database of that name is its own


@dataclass(frozen=True)
class Fold:
    """Indices into the clips: those `left_out` are tested; of the others, some may be held out, and the rest trains."""

    left_out: str  # a subject or a database
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    val: NDArray[np.intp]  # neither trained on nor tested: an epoch may be chosen by them


def leave_one_out(
    clip_folds: Sequence[str], clip_subjects: Sequence[str], left_out: str, val: int = 0, seed: int = 0
) -> Fold:
    """The fold that tests the clips whose fold is `left_out`, and holds `val` of the other subjects out, drawn by
    `seed`; `data.fit` has seen to it that there are enough of them. That of EVERYBODY trains on all clips and tests
    none: no figure can come of it."""
    names, is_test = np.asarray(clip_subjects), np.asarray(clip_folds) == left_out
    others = np.unique(names[~is_test])
    held_out = np.isin(names, np.random.default_rng(seed).permutation(others)[:val])
    return Fold(left_out, *map(np.flatnonzero, (~is_test & ~held_out, is_test, held_out & ~is_test)))


def fold_seed(seed: int, left_out: str) -> int:
    """The seed of a fold, which does not depend on the trial, so that trials are paired by fold."""
    return int.from_bytes(hashlib.sha256(f"{seed} {left_out}".encode()).digest()[:6], "big")


def stream_seed(seed: int, place: int) -> int:
    """The seed of a fold that is the `place`-th (from 0) of a run, as if one stream of random numbers went on from fold
    to fold; the first has the run's own seed."""
    return int(np.random.default_rng(seed).integers(2**48, size=place)[-1]) if place else seed


def hardest_of(losses: Mapping[str, float]) -> tuple[str, ...]:
    """Subjects, the hardest first, from the sum of each one's clips' log-losses.

    The sum, not the mean: it ranks a subject by the share of the pooled errors that are its own, where a mean would
    put subjects with one unlucky clip first, whose scores are noise.
    """
    return tuple(sorted(losses, key=lambda subject: (-losses[subject], subject)))


RANKED = ("hardest", "stratified")  # what takes subjects by their difficulty; ten of them, if no number follows


def select_subjects(
    text: str, known: Sequence[str], ranked: Sequence[str], databases: Mapping[str, Iterable[str]] | None = None
) -> tuple[str, ...]:
    """Subject names for `all`, `hardest`, `hardest_7`, `stratified_7`, `1-4`, `[1, 2, 3]`, `7`, or names: `s03, sub17`,
    `casme2, s03`. UsageError for a number or a name that no subject or more than one subject fits.

    Args:
        text: what the user wrote.
        known: every subject of the data.
        ranked: these, or those of a published list, the hardest first; `hardest` means the first ten, `stratified` ten
            spread evenly over all.
        databases: the subjects of each database in the data, for which its name stands.
    """
    text, groups = text.strip(), databases or {}
    if text == "all":
        return tuple(sorted(known))
    if match := re.fullmatch(rf"({'|'.join(RANKED)})(?:_([0-9]{{1,9}}))?", text):
        if int(match[2] or 0) > len(ranked):
            found = "the published list has" if len(ranked) < len(known) else "there are"
            raise UsageError(f"{text} needs as many ranked subjects, but {found} {len(ranked)}: {', '.join(ranked)}")
        count = min(int(match[2] or 10), len(ranked))
        step = 1 if match[1] == "hardest" else len(ranked) / max(count, 1)
        chosen = [ranked[int((place + 0.5) * step)] for place in range(count)]
    else:
        names: Iterable[str] = re.findall(r"[^,\s\[\]\"']+", text)
        if match := re.fullmatch(r"([0-9]{1,9})\s*-\s*([0-9]{1,9})", text):
            names = map(str, range(int(match[1]), int(match[2]) + 1))
        each = (sorted(groups[name]) if name in groups else [_subject(name, known, groups)] for name in names)
        chosen = [subject for group in each for subject in group]
    if not chosen:
        raise UsageError(
            f"subjects must be all, hardest, hardest_7, stratified_7, 1-4, [1, 2, 3], 7 or names, but got {text!r}"
        )
    return tuple(dict.fromkeys(chosen))


def _subject(name: str, known: Sequence[str], databases: Iterable[str]) -> str:
    """The one subject of that name or number."""
    same = [s for s in known if re.fullmatch("[0-9]{1,9}", name) and subject_number(s) == int(name)]
    fitting = [name] if name in known else same
    if len(fitting) != 1:
        everything = [*sorted(known), *sorted(databases)]
        found = f"fits {' and '.join(fitting)}; write the name" if fitting else f"is none of {', '.join(everything)}"
        words = [f"{rule}{f'_{subject_number(name)}' if subject_number(name) else ''}" for rule in RANKED]
        if not fitting and (near := difflib.get_close_matches(name, [*words, *everything, "all"], n=1, cutoff=0.7)):
            found = f"is none; did you mean {near[0]}? There are {', '.join(everything)}"
        raise UsageError(f"a subject must be one of the data's, but {name!r} {found}")
    return fitting[0]
