"""Confirmation: all subjects, fresh seeds, and nothing chosen on the way. What it says can be believed."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.config import Run, Value, digest, with_values
from mer_search.errors import UsageError
from mer_search.files import write_whole
from mer_search.presets import preset
from mer_search.search.statistics import bbc, uf1_interval
from mer_search.search.storage import find_trial, ran_to_its_end
from mer_search.search.study import trial_folder
from mer_search.search.workspace import Loaded
from mer_search.training import baselines
from mer_search.training.loop import Epoch
from mer_search.training.loso import finish_folds, read_config
from mer_search.training.metrics import available, best_epoch, confusion, fold_confusion, scores, tail, uf1
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
    out = Path(facts["out"])
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
    def store(self) -> Path:
        """Where its folds are, whichever subjects are asked for. The name of a preset, or of a trial on another
        dataset, is followed by the digest of data and configuration."""
        if self.target.checksum and not self.elsewhere:
            return self.target.folder
        return self.target.folder.with_name(f"{self.target.folder.name}-{digest(self.loaded.run)[:8]}")

    @property
    def folder(self) -> Path:
        """Where its results are. The name of some of the subjects' is followed by theirs, so that it does not take the
        place of the whole."""
        if set(self.subjects) == set(self.loaded.subjects):
            return self.store
        names = hashlib.sha256(" ".join(self.subjects).encode()).hexdigest()[:6]
        return self.store.with_name(f"{self.store.name}-{len(self.subjects)}-subjects-{names}")

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """`all`, and `unsearched`: the subjects that the search never scored."""
        unsearched = tuple(subject for subject in self.subjects if subject not in self.searched)
        return {"all": self.subjects} | ({"unsearched": unsearched} if unsearched else {})


def confirm(
    confirmation: Confirmation, pool: Pool, on_epoch: Callable[[Epoch], None], on_fold: Callable[[int, int], None]
) -> list[Predictions]:
    """Train every (seed, subject) that is not on disk yet; the first seed's networks are kept as checkpoints."""
    loaded = confirmation.loaded
    wanted = [(seed, subject) for seed in confirmation.seeds for subject in confirmation.subjects]

    def checkpoint(seed: int, subject: str) -> Path | None:
        return confirmation.store / "checkpoints" / f"{subject}.safetensors" if seed == FIRST_SEED else None

    folds = []
    trained = finish_folds(pool, loaded.tensors, loaded.run, wanted, confirmation.store, on_epoch, checkpoint)
    with closing(trained):
        for fold in trained:
            folds.append(fold)
            on_fold(len(folds), len(wanted))
    return folds


def summarise(confirmation: Confirmation, folds: Sequence[Predictions]) -> dict[str, Any]:
    """summary.json: every rule and group, the baselines, and the search's own best corrected for its choosing."""
    loaded = confirmation.loaded
    chosen = [clip.subject in confirmation.subjects for clip in loaded.clips]
    return {
        "title": confirmation.target.title + (" on another dataset" if confirmation.elsewhere else ""),
        "dataset": loaded.folder.title,
        "synthetic": loaded.folder.synthetic,
        "protocol": "leave-one-subject-out, counts pooled over subjects",
        "digest": digest(loaded.run),
        "classes": loaded.run.data.classes,
        "n_clips": sum(chosen),
        "n_subjects": len(confirmation.subjects),
        "n_unsearched": len(confirmation.groups.get("unsearched", ())),
        "epochs": loaded.run.epochs,
        "seeds": confirmation.seeds,
        "rules": {
            name: {group: _scored(folds, members, rule) for group, members in confirmation.groups.items()}
            for name, rule in available(folds).items()
        },
        "baselines": {name: _baseline(name, confirmation) for name in baselines.CHOSEN},
        "uf1_bbc": None if confirmation.elsewhere else _corrected(confirmation.target),
    }


def _scored(folds: Sequence[Predictions], members: Sequence[str], rule: Any) -> dict[str, Any]:
    """Means over seeds, sd over seeds, interval over subjects, and the seeds' probabilities averaged."""
    by_seed: dict[int, list[NDArray[np.int64]]] = {}
    chances: dict[str, list[NDArray[np.float64]]] = {}
    labels = {}
    for fold in folds:
        if fold.subject in members:
            by_seed.setdefault(fold.seed, []).append(fold_confusion(fold, rule))
            chances.setdefault(fold.subject, []).append(rule(fold))
            labels[fold.subject] = fold.labels
    matrices = np.array(list(by_seed.values()))  # (seeds, subjects, K, K)
    each = [scores(matrix.sum(0)) for matrix in matrices]
    averaged = np.sum(
        [
            confusion(labels[subject], np.mean(chances[subject], axis=0).argmax(-1), matrices.shape[-1])
            for subject in chances
        ],
        axis=0,
    )
    return {
        "uf1": float(np.mean([score.uf1 for score in each])),
        "uar": float(np.mean([score.uar for score in each])),
        "accuracy": float(np.mean([score.accuracy for score in each])),
        "sd": float(np.std([score.uf1 for score in each], ddof=1)) if len(each) > 1 else None,
        "ci95": uf1_interval(matrices),
        "uf1_by_seed": [score.uf1 for score in each],
        "seed_mean_uf1": float(uf1(averaged)),
        "classes_left_out": each[0].left_out,
    }


def _baseline(name: str, confirmation: Confirmation) -> dict[str, Any]:
    """A scikit-learn baseline on the same folds."""
    loaded = confirmation.loaded
    predicted = baselines.predict(name, loaded.motion, loaded.labels, loaded.subjects)
    classes, subjects = len(loaded.run.data.classes), np.array(loaded.subjects)
    out = {}
    for group, members in confirmation.groups.items():
        matrices = np.array(
            [confusion(loaded.labels[subjects == member], predicted[subjects == member], classes) for member in members]
        )
        score = scores(matrices.sum(0))
        out[group] = {
            "uf1": score.uf1,
            "uar": score.uar,
            "accuracy": score.accuracy,
            "ci95": uf1_interval(matrices[None]),
        }
    return out


def _corrected(target: Target) -> dict[str, Any] | None:
    """BBC-CV over the trials that scored every searched subject; on those subjects alone."""
    stored = [
        {fold.subject: fold_confusion(fold, tail) for fold in load(path / "predictions.npz")} for path in target.trials
    ]
    complete = [found for found in stored if set(target.searched) <= set(found)]
    if len(complete) < 2 or len(target.searched) < 3:
        return None
    matrices = np.array([[found[subject] for subject in target.searched] for found in complete])
    corrected, interval = bbc(matrices)
    naive = float(uf1(matrices.sum(1)).max())
    return {
        "uf1": corrected,
        "ci95": interval,
        "best_trial_uf1": naive,
        "trials": len(complete),
        "n_subjects": len(target.searched),
    }


def averaged(folds: Sequence[Predictions]) -> dict[str, tuple[Predictions, NDArray[np.int64]]]:
    """subject -> its first seed's predictions, and the class (n,) of each clip by the seeds' mean under tail."""
    chances: dict[str, list[NDArray[np.float64]]] = {}
    first: dict[str, Predictions] = {}
    for fold in folds:
        chances.setdefault(fold.subject, []).append(tail(fold))
        first.setdefault(fold.subject, fold)
    return {subject: (first[subject], np.mean(chances[subject], axis=0).argmax(-1)) for subject in sorted(first)}


def write(confirmation: Confirmation, folds: Sequence[Predictions], summary: dict[str, Any]) -> None:
    """summary.json, subjects.csv and megc_log.txt."""
    decided = averaged(folds)
    write_whole(confirmation.folder / "summary.json", json.dumps(summary, indent=1))
    write_whole(confirmation.folder / "subjects.csv", _subject_rows(decided, confirmation.searched))
    write_whole(confirmation.folder / "megc_log.txt", _megc_log(decided, confirmation.loaded.folder.name))


def _subject_rows(decided: dict[str, tuple[Predictions, NDArray[np.int64]]], searched: Sequence[str]) -> str:
    """A row a subject, under the tail rule of the seeds' mean; best_epoch is what the published rule would pick."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(
        [
            "subject",
            "searched",
            "epochs",
            "best_epoch",
            "clips",
            "truth",
            "prediction",
            "TP",
            "FP",
            "FN",
            "accuracy",
            "F1",
        ]
    )
    for subject, (fold, predicted) in decided.items():
        matrix = confusion(fold.labels, predicted, fold.probabilities.shape[-1])
        hits, score = np.diag(matrix), scores(matrix)
        cells = [fold.labels, predicted, hits, matrix.sum(0) - hits, matrix.sum(1) - hits]
        writer.writerow(
            [
                subject,
                int(subject in searched),
                len(fold.probabilities),
                best_epoch(fold) + 1,
                len(fold.labels),
                *(" ".join(map(str, cell)) for cell in cells),
                f"{score.accuracy:.4f}",
                f"{score.uf1:.4f}",
            ]
        )
    return buffer.getvalue()


def _megc_log(decided: dict[str, tuple[Predictions, NDArray[np.int64]]], dataset: str) -> str:
    """MEGC 2019's log: a header line a subject, then clip, truth and prediction."""
    lines = []
    for subject, (fold, predicted) in decided.items():
        lines.append(f"{dataset} {subject}")
        lines += [
            f"{clip.split('/', 1)[1]} {truth} {guess}"
            for clip, truth, guess in zip(fold.clips, fold.labels, predicted, strict=True)
        ]
    return "\n".join(lines) + "\n"
