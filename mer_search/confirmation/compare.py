"""Comparison: networks on the same seeds and folds, paired by subject, with a conclusion that may be no."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from mer_search.config import Value, digest, explain
from mer_search.confirmation.confirm import Confirmation
from mer_search.confirmation.summary import Comparison, NetworkScore, Pair
from mer_search.errors import DataError
from mer_search.evaluation.metrics import Interval, Ints, fold_confusion, tail, uf1, without_clips
from mer_search.evaluation.predictions import Predictions
from mer_search.evaluation.statistics import holm, paired_interval, permutation_p, uf1_interval
from mer_search.files import write_whole

SIGNIFICANT = 0.05
FOLDER = "compare"  # of kept comparisons, in the folder for results
LETTERS = 150  # of a kept comparison's name
MIN_SUBJECTS = 3  # subjects; of fewer a comparison says nothing


class Contestant(NamedTuple):
    """A network and its (M, S, K, K) confusion matrices of seeds and subjects, under the tail rule."""

    name: str
    digest: str
    matrices: Ints
    changed: Mapping[str, Value] = MappingProxyType({})  # values of a preset that are not its own
    leaks: bool = False  # whether training looked at the test person


def tail_matrices(folds: Iterable[Predictions], seeds: Sequence[int], subjects: Sequence[str]) -> Ints:
    """The (M, S, K, K) confusion matrices of these seeds and subjects under the tail rule."""
    of = {(fold.seed, fold.subject): fold for fold in folds}
    return np.array([[fold_confusion(of[seed, subject], tail) for subject in subjects] for seed in seeds])


def compare(jobs: Sequence[Confirmation], folds: Sequence[Sequence[Predictions]]) -> Comparison:
    """The comparison of confirmations on the same subjects and seeds, from all their folds."""
    met, first, folder = [], jobs[0], jobs[0].loaded.folder
    for job, trained in zip(jobs, folds, strict=True):
        matrices = tail_matrices(trained, job.seeds, job.subjects)
        run = job.loaded.run
        met.append(Contestant(job.target.title, digest(run), matrices, job.target.changed, run.leaks))
    tuning = [subject for subject in first.subjects if any(job.tuned[subject] for job in jobs)]
    classes = first.loaded.run.data.classes
    return comparison(met, first.subjects, first.seeds, tuning, classes, folder.title, folder.synthetic)


def comparison(
    met: Sequence[Contestant],
    subjects: Sequence[str],
    seeds: Sequence[int],
    tuning: Sequence[str],
    classes: Sequence[str],
    dataset: str,
    synthetic: bool,
) -> Comparison:
    """The comparison of networks from their confusion matrices, whose subjects, seeds and classes these are; a search
    has chosen one of them by the scores of the subjects `tuning`."""
    other = [subject for subject in subjects if tuning and subject not in tuning]
    places = [subjects.index(subject) for subject in other]
    some = [each._replace(matrices=each.matrices[:, places]) for each in met]
    networks = tuple(_network(each, subjects) for each in met)
    best = int(np.argmax([each.uf1 for each in networks]))
    return Comparison(
        dataset=dataset,
        synthetic=synthetic,
        subjects=tuple(subjects),
        seeds=tuple(seeds),
        tuning=tuple(tuning),
        other=tuple(other),
        networks=networks,
        clips_by_subject=dict(zip(subjects, met[0].matrices[0].sum((-2, -1)).tolist(), strict=True)),
        pairs=paired(met[0], met[1:]),
        pairs_on_other=paired(some[0], some[1:]) if len(other) >= MIN_SUBJECTS else (),
        winner=networks[best].name,
        not_counted=without_clips(met[0].matrices, classes),
        winner_shown=all(pair.shown for pair in paired(met[best], [*met[:best], *met[best + 1 :]])),
    )


def _network(each: Contestant, subjects: Sequence[str]) -> NetworkScore:
    by_seed = uf1(each.matrices.sum(1))
    n_correct = np.trace(each.matrices, axis1=-2, axis2=-1).mean(0)
    return NetworkScore(
        name=each.name,
        digest=each.digest,
        uf1=float(by_seed.mean()),
        sd=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        ci95=uf1_interval(each.matrices),
        uf1_by_seed=tuple(by_seed.tolist()),
        n_correct_by_subject=dict(zip(subjects, n_correct.tolist(), strict=True)),
        changed=dict(each.changed),
        leaks=each.leaks,
    )


def paired(first: Contestant, others: Sequence[Contestant]) -> tuple[Pair, ...]:
    """The first against each of the others, paired over seeds and subjects, their p corrected together."""
    p = [permutation_p(first.matrices, other.matrices) for other in others]
    return tuple(_pair(first, *each, len(others)) for each in zip(others, p, holm(p), strict=True))


def _pair(first: Contestant, second: Contestant, p: float, p_holm: float, pairs: int) -> Pair:
    one, other = (float(uf1(each.matrices.sum(1)).mean()) for each in (first, second))
    interval, seeds = paired_interval(first.matrices, second.matrices), len(first.matrices)
    few = int((first.matrices != second.matrices).any((0, 2, 3)).sum())  # subjects that tell them apart
    shown = p_holm < SIGNIFICANT and (interval is None or interval[0] > 0 or interval[1] < 0)
    same = np.array_equal(first.matrices, second.matrices)
    names = f"{first.name} and {second.name}"
    numbers = _numbers(one, other, interval, p_holm, pairs)
    if few and not shown and pairs * 2 / 2**few >= SIGNIFICANT:  # the least p that there can be
        they = f"{few} subject{'s that tell them apart are' if few > 1 else ' that tells them apart is'}"
        numbers += f"; {they} too few to show a difference{f' where {pairs} pairs are compared' * (pairs > 1)}"
    if same:
        alone = ", for both give all clips one class" if first.matrices.sum((0, 1)).any(0).sum() == 1 else ""
        matrix = f"the same confusion matrix for every subject{' and seed' * (seeds > 1)}"
        conclusion = f"no difference: {names} have {matrix}{alone}"
    elif not shown:
        conclusion = f"no difference shown between {names}: {numbers}"
    elif one > other:
        conclusion = f"{first.name} is better than {second.name}: {numbers}"
    else:
        turned = interval and (-interval[1], -interval[0])
        conclusion = f"{second.name} is better than {first.name}: {_numbers(other, one, turned, p_holm, pairs)}"
    return Pair(
        first=first.name,
        second=second.name,
        difference=one - other,
        ci95=interval,
        p=p,
        p_holm=p_holm,
        same=same,
        shown=shown,
        numbers=numbers,
        conclusion=conclusion,
    )


def _numbers(first: float, second: float, interval: Interval | None, p: float, pairs: int) -> str:
    """The evidence, for a person."""
    return (
        f"UF1 {first:.3f} and {second:.3f}, difference {first - second:+.3f}, "
        f"95 % {f'{interval[0]:+.3f} to {interval[1]:+.3f}' if interval else 'not estimable'}, "
        f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}{f' (Holm, of {pairs})' if pairs > 1 else ''}"
    )


def keep(found: Comparison, out: Path) -> Path:
    """Write a comparison into the folder for results, for reports; where it is. Its name is its networks', and a digest
    of what they are and of the subjects, so that it takes the place of the same one alone, of any seeds."""
    names = re.sub(r"[^\w.]+", "-", " against ".join(each.name for each in found.networks)).strip("-")
    what = " ".join((*(each.digest for each in found.networks), *sorted(found.subjects)))
    path = out / FOLDER / f"{names[:LETTERS]}-{hashlib.sha256(what.encode()).hexdigest()[:8]}.json"
    write_whole(path, json.dumps(found.model_dump(), indent=1))
    return path


def kept(out: Path, dataset: str) -> list[Comparison]:
    """All comparisons on a dataset that were kept in the folder for results, by their names."""
    found = []
    for path in sorted((out / FOLDER).glob("*.json")):
        try:
            found.append(Comparison.model_validate(json.loads(path.read_text())))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(
                f"{path} must hold a comparison, but cannot be read ({explain(error)}); delete it"
            ) from error
    return [each for each in found if each.dataset == dataset]
