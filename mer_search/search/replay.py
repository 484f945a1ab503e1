"""Replay: what a search would have found, from a table of folds that were trained once.

A table holds, for M configurations of a study's space, the probabilities that each gave its subjects' clips after every
epoch, with R seeds. A search is then replayed without training: the sampler proposes, the nearest configuration that
it has not had yet is taken, its folds are looked up one after the other, and the race decides how far it goes. Its cost
is counted in fold-epochs: one epoch of one fold.

The search sees one seed; the truth about a configuration is its UF1 with the other seeds, so that luck with the one
does not count. Shapes: M configurations, R seeds, S subjects, E epochs, N clips, K classes.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.errors import DataError
from mer_search.files import write_whole
from mer_search.search import racing
from mer_search.search.samplers import sampler
from mer_search.search.space import Axis, StudyFile
from mer_search.training.metrics import confusion, tail_epochs, uf1

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The folds of M configurations. A configuration that trains for fewer epochs is a prefix of a longer one."""

    values: tuple[Values, ...]  # M
    epochs: NDArray[np.int64]  # (M,) how many each trains for, at most E
    counts: NDArray[np.int32]  # (M, R, S, E, K, K) confusion matrices under the tail rule, had it ended there
    likelihood: NDArray[np.float64]  # (M, R, S, E) mean log-likelihood under the tail rule, had it ended there
    leaky: NDArray[np.int32]  # (M, R, S, E, K, K) confusion matrices under the best test epoch so far

    def final(self, counts: NDArray[np.int32]) -> NDArray[np.int32]:
        """(M, R, S, K, K) of the configurations' last epochs."""
        return np.asarray(counts[np.arange(len(self.values)), :, :, self.epochs - 1])


def pack(path: Path, values: Sequence[Values], labels: Any, owner: Any, probabilities: Any) -> None:
    """Write a table: labels (N,), owner (N,) subject numbers, probabilities (M, R, E, N, K)."""
    buffer = io.BytesIO()
    text = np.array(json.dumps(list(values)))
    np.savez_compressed(
        buffer, allow_pickle=False, values=text, labels=labels, owner=owner,
        probabilities=probabilities.astype(np.float16),
    )  # fmt: skip
    write_whole(path, buffer.getvalue())


def load(path: Path, file: StudyFile) -> Table:
    """A table that `pack` wrote, of a study. Where epochs are an axis of the study, each of its choices is a
    configuration.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = json.loads(str(stored["values"]))
            labels, owner = stored["labels"].astype(np.int64), stored["owner"]
            probabilities = stored["probabilities"].astype(np.float32)
    except Exception as error:  # zipfile, numpy and json each have their own
        raise DataError(f"{path} must hold a table of folds, but cannot be read ({error})") from error
    longest = probabilities.shape[2]
    choices = next((axis.values for axis in file.axes if axis.key == "train.epochs"), (longest,))
    scored = [_scored(each, labels, owner) for each in probabilities]
    counts, likelihood, leaky = (np.repeat(np.stack(part), len(choices), axis=0) for part in zip(*scored, strict=True))
    expanded = [dict(each) | {"train.epochs": epochs} for each in values for epochs in choices]
    if "train.epochs" not in {axis.key for axis in file.axes}:
        expanded = [{key: value for key, value in each.items() if key != "train.epochs"} for each in expanded]
    return Table(tuple(expanded), np.tile(choices, len(values)), counts, likelihood, leaky)


def _scored(chances: NDArray[Any], labels: NDArray[Any], owner: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Probabilities (R, E, N, K) -> counts (R, S, E, K, K), log-likelihoods (R, S, E) and leaky counts."""
    seeds, epochs, _, classes = chances.shape
    sums = np.concatenate([np.zeros_like(chances[:, :1]), chances.cumsum(1, dtype=np.float64)], axis=1)
    ends = np.arange(1, epochs + 1)
    lengths = np.array([tail_epochs(end) for end in ends])
    smooth = (sums[:, ends] - sums[:, ends - lengths]) / lengths[:, None, None]  # (R, E, N, K)
    subjects = range(int(owner.max()) + 1)
    shape = (seeds, len(subjects), epochs, classes, classes)
    counts, leaky, likelihood = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape[:3])
    for r in range(seeds):
        for s in subjects:
            own, mine = owner == s, labels[owner == s]
            likelihood[r, s] = np.log(np.maximum(smooth[r, :, own, :][np.arange(len(mine)), :, mine], 1e-4)).mean(0)
            plain = np.zeros(shape[2:], np.int32)
            for e in range(epochs):
                counts[r, s, e] = confusion(mine, smooth[r, e, own].argmax(-1), classes)
                plain[e] = confusion(mine, chances[r, e, own].argmax(-1), classes)
            f1, best = uf1(plain).round(12), 0
            for e in range(epochs):
                best = e if f1[e] > f1[best] else best
                leaky[r, s, e] = plain[best]
    return counts, likelihood, leaky


@dataclass(frozen=True)
class Strategy:
    """A way to search: who proposes, who is stopped, and what is maximised."""

    name: str
    sampler: str = "tpe"
    race: str = "none"  # in racing.RACES
    rule: str = "tail"


class Replayed(NamedTuple):
    """One replayed search: after each of its trials, T."""

    spent: NDArray[np.int64]  # (T,) fold-epochs so far
    truth: NDArray[np.float64]  # (T,) true UF1 of the best so far
    ends: NDArray[np.bool_]  # (T,) whether the trial ran to its end


def replay(table: Table, file: StudyFile, strategy: Strategy, trials: int, repeat: int) -> Replayed:
    """Search the table once; `repeat` decides the seed that is seen and every draw."""
    random = np.random.default_rng([repeat, 1])
    seeds = table.likelihood.shape[1]
    seen = int(random.integers(seeds))
    others = [seed for seed in range(seeds) if seed != seen]
    truth = uf1(table.final(table.counts).sum(2))[:, others].mean(1)  # (M,)
    counts = {"tail": table.counts, "best_test_epoch": table.leaky}[strategy.rule][:, seen]  # (M, S, E, K, K)
    study = optuna.create_study(direction="maximize", sampler=sampler(strategy.sampler, int(random.integers(2**31))))
    space = _Space(table.values, file.axes)
    subjects = table.likelihood.shape[2]
    race = racing.RACES[strategy.race]
    best: int | None = None
    best_value = -1.0
    spent: list[int] = []
    truths: list[float] = []
    ends: list[bool] = []
    for _ in range(min(trials, len(table.values))):
        asked = study.ask()
        m = space.take(file.suggest(asked))
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        ran = race.run(
            random.permutation(subjects).tolist(),
            int(table.epochs[m]),
            table.likelihood[m, seen],
            None if best is None else table.likelihood[best, seen, :, : table.epochs[best]],
        )
        reached = dict(enumerate(counts[m, :, ran.epochs - 1]))
        value = float(uf1(np.sum(list(reached.values()), axis=0)))
        if not ran.ended:
            assert best is not None  # nobody else could have won the race
            there = counts[best, :, min(ran.epochs, int(table.epochs[best])) - 1]
            full = dict(enumerate(counts[best, :, table.epochs[best] - 1]))
            value = racing.estimate({s: reached[s] for s in ran.subjects}, {s: there[s] for s in ran.subjects}, full)
        elif value > best_value:
            best, best_value = m, value
        study.add_trial(
            optuna.trial.create_trial(params=dict(table.values[m]), distributions=space.distributions(m), value=value)
        )
        spent.append(ran.spent + (spent[-1] if spent else 0))
        truths.append(truth[best] if best is not None else 0.0)
        ends.append(ran.ended)
    return Replayed(np.array(spent), np.array(truths), np.array(ends))


class _Space:
    """The table's configurations as points of the study's space; each is taken once."""

    def __init__(self, values: Sequence[Values], axes: Sequence[Axis]) -> None:
        self.values, self.axes = values, axes
        self.left = np.ones(len(values), bool)
        self.points = np.stack([self._point(each) for each in values])  # (M, coordinates)

    def take(self, proposed: Values) -> int:
        """The number of the nearest configuration that is left."""
        distance = np.abs(self.points - self._point(proposed)).sum(1)
        nearest = int(np.where(self.left, distance, np.inf).argmin())
        self.left[nearest] = False
        return nearest

    def _point(self, values: Values) -> NDArray[np.float64]:
        """Every axis has length 1: an interval its place, a choice half a step for each of its values."""
        coordinates: list[float] = []
        for axis in self.axes:
            value = values.get(axis.key)
            if axis.kind == "choice":
                coordinates += [0.5 * (value == choice) for choice in axis.values]
                continue
            low, high = (np.log(axis.values) if axis.log else np.array(axis.values, float)).tolist()
            here = low if value is None else float(np.log(value)) if axis.log else float(value)
            coordinates.append((here - low) / (high - low))
        return np.array(coordinates)

    def distributions(self, m: int) -> dict[str, optuna.distributions.BaseDistribution]:
        """The axes that a configuration has values on, as Optuna knows them."""
        return {axis.key: axis.distribution for axis in self.axes if axis.key in self.values[m]}
