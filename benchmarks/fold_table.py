"""A table of folds: configurations of a study's space, each trained on all its subjects, every probability kept.

It is trained once, and any search on it can then be replayed in seconds (replays.py). Shapes: M configurations, R
seeds, S subjects, E epochs, N clips, K classes.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.engine.executor import Executor
from mer_search.engine.task import Finished
from mer_search.errors import DataError
from mer_search.evaluation.metrics import Floats, macro_f1, tail_epochs, uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.files import check_archive, write_whole
from mer_search.search import space
from mer_search.search.finals import SEEDS
from mer_search.search.pruner import MEASURES
from mer_search.search.scheduler import Job, Scheduler, Want, list_job
from mer_search.search.space import StudyFile
from mer_search.search.trial import Search
from mer_search.search.workspace import silent
from mer_search.training.fold_store import claim

Values = Mapping[str, Any]
EPOCHS = "train.epochs"
IN_FLIGHT = 2  # configurations whose folds are trained at once, so that no slot is idle as one ends


def shipped(name: str) -> Path:
    """The table of a study that comes with the repository."""
    return Path(__file__).with_name("replay") / f"{name}.npz"


def study_of(path: Path, other: str) -> StudyFile:
    """The study that a table was made of, whose file stands beside it; the `other` if there is none. The study of that
    name may have gone on since."""
    beside = path.with_suffix(".toml")
    return space.load(str(beside) if beside.exists() else other)


@dataclass(frozen=True)
class Table:
    """The folds of M configurations. A configuration that trains for fewer epochs is a prefix of a longer one."""

    values: tuple[Values, ...]  # M
    epochs: NDArray[np.int64]  # (M,) how many each trains for, at most E
    counts: NDArray[np.int32]  # (M, R, S, E, K, K) confusion matrices under the tail rule, had it ended there
    leaky: NDArray[np.int32]  # (M, R, S, E, K, K) confusion matrices under the best test epoch so far
    measures: Mapping[str, NDArray[np.float64]]  # (M, R, S, E) scores of a person as pruners measure them, had it ended
    weights: Mapping[str, NDArray[np.float64]]  # (S,) what a person weighs in these

    @property
    def shape(self) -> tuple[int, ...]:
        """M, R, S."""
        return self.counts.shape[:3]

    @property
    def has_finals(self) -> bool:
        """Whether there are seeds for finals, beside the one that a search sees and one for the truth."""
        return self.shape[1] >= 2 + SEEDS

    def scores(self, measure: str, configuration: int, seed: int, epochs: int) -> NDArray[np.float64]:
        """(S,) of a configuration after so many epochs, or at its end if that comes before."""
        last = min(epochs, int(self.epochs[configuration])) - 1
        return np.asarray(self.measures[measure][configuration, seed, :, last])

    def final(self, measured: NDArray[Any]) -> NDArray[Any]:
        """Counts (M, R, S, K, K), or a measure (M, R, S), of the configurations' last epochs."""
        return np.asarray(measured[np.arange(len(self.values)), :, :, self.epochs - 1])

    def uf1(self, counts: NDArray[np.int32]) -> Floats:
        """(M, R) of the configurations' last epochs."""
        return np.asarray(uf1(self.final(counts).sum(2)))


def drawn(file: StudyFile, count: int) -> list[Values]:
    """Configurations of the study's space: its first trials', then random ones, always the same. Where epochs are an
    axis, all have the most, because fewer are a prefix."""
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in file.start:
        draws.enqueue_trial(dict(point))
    most = max(_epochs(file))
    return [file.suggest(draws.ask()) | {EPOCHS: most} for _ in range(count)]


def _epochs(file: StudyFile) -> tuple[int, ...]:
    """Epochs that configurations of the study may have."""
    return next((axis.values for axis in file.axes if axis.key == EPOCHS), (file.base.train.epochs,))


def build(
    search: Search, executor: Executor, count: int, seeds: int, folder: Path, on_fold: Callable[[int, int], None]
) -> Path:
    """Train `count` configurations with so many seeds on the subjects of a search, as far as the folder lacks their
    folds, and write `folder`.npz, with the study's file beside it; a later call goes on.

    Raises:
        MerSearchError: if a configuration cannot be trained.
    """
    chosen = drawn(search.file, count)

    def jobs() -> Iterator[Job]:
        for number, values in enumerate(chosen):
            loaded, own = search.loaded.with_values(values, silent), folder / f"{number:04d}"
            claim(own, loaded.run, loaded.motion_digest)
            wanted = [Want(*key, loaded.run.train.epochs) for key in product(range(seeds), search.subjects)]
            yield list_job(f"configuration {number}", loaded, own, wanted)

    tables, done, first = [], 0, list[Predictions]()
    left = jobs()
    with closing(Scheduler(executor, IN_FLIGHT).run(lambda: next(left, None))) as events:
        for job, event in events:
            if job.error:
                raise job.error
            if isinstance(event, Finished):
                done += 1
                on_fold(done, count * seeds * len(search.subjects))
            if event is None:
                folds = np.concatenate([fold.probabilities for fold in job.outcome], axis=1)  # (E, R * N, K)
                tables.append(np.stack(np.split(folds, seeds, axis=1)))  # (R, E, N, K)
                first = job.outcome[: len(search.subjects)]
    labels = np.concatenate([fold.labels for fold in first])
    owner = np.repeat(np.arange(len(first)), [len(fold.labels) for fold in first])
    path = folder.with_name(f"{folder.name}.npz")
    pack(path, chosen, labels, owner, np.stack(tables))
    write_whole(path.with_suffix(".toml"), search.file.text)
    return path


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
    if not path.exists():
        raise DataError(
            f"a replay needs a table of folds, but there is no {path}; `python benchmarks/replays.py table` makes one"
        )
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as stored:
            values = json.loads(str(stored["values"]))
            labels, owner = stored["labels"].astype(np.int64), stored["owner"]
            probabilities = stored["probabilities"].astype(np.float32)
    except Exception as error:  # zipfile, numpy and json each have their own
        raise DataError(f"{path} must hold a table of folds, but cannot be read ({error})") from error
    choices = _epochs(file)
    scored = [_scored(each, labels, owner) for each in probabilities]
    stacked = {name: np.repeat(np.stack([each[name] for each in scored]), len(choices), axis=0) for name in scored[0]}
    counts, leaky = stacked.pop("counts"), stacked.pop("leaky")
    worth = {name: measure.class_weights(labels, counts.shape[-1]) for name, measure in MEASURES.items()}
    weights = {name: np.bincount(owner, worth[name][labels]).astype(np.float64) for name in MEASURES}
    expanded = [dict(each) | {EPOCHS: epochs} for each in values for epochs in choices]
    if EPOCHS not in {axis.key for axis in file.axes}:
        expanded = [{key: value for key, value in each.items() if key != EPOCHS} for each in expanded]
    return Table(tuple(expanded), np.tile(choices, len(values)), counts, leaky, stacked, weights)


def _scored(probs: NDArray[Any], labels: NDArray[Any], owner: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A configuration's probabilities (R, E, N, K) -> counts and leaky counts (R, S, E, K, K), and each of the measures
    (R, S, E)."""
    epochs, classes = probs.shape[1], probs.shape[3]
    sums = np.concatenate([np.zeros_like(probs[:, :1]), probs.cumsum(1, dtype=np.float64)], axis=1)
    ends = np.arange(1, epochs + 1)
    lengths = np.array([tail_epochs(end) for end in ends])
    smooth = (sums[:, ends] - sums[:, ends - lengths]) / lengths[:, None, None]  # (R, E, N, K)
    clips_of = [owner == s for s in range(int(owner.max()) + 1)]
    measures = {}
    for name, measure in MEASURES.items():
        weights = measure.class_weights(labels, classes)
        measures[name] = np.stack([measure.of(smooth[:, :, own], labels[own], weights) for own in clips_of], axis=1)
    one_hot = np.eye(classes, dtype=np.int32)

    def matrices(said: NDArray[Any]) -> NDArray[np.int32]:
        """Confusion matrices (R, S, E, K, K) of probabilities (R, E, N, K)."""
        chosen = one_hot[said.argmax(-1)]
        return np.stack([np.einsum("nt,renp->retp", one_hot[labels[own]], chosen[:, :, own]) for own in clips_of], 1)

    plain = matrices(probs)
    f1 = macro_f1(plain).round(12)  # (R, S, E)
    best = np.stack([f1[..., :end].argmax(-1) for end in ends], -1)  # of equals the earliest
    leaky = np.take_along_axis(plain, best[..., None, None], axis=2)
    return {"counts": matrices(smooth), "leaky": leaky, **measures}
