"""A confirmation's scores: every rule and group of subjects, the baselines, and the files that say so."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mer_search.config import Run, digest
from mer_search.confirmation.confirm import Confirmation
from mer_search.confirmation.folders import store_of
from mer_search.confirmation.score import LOG, pooled
from mer_search.confirmation.summary import (
    Corrected,
    Estimate,
    RuleScore,
    Score,
    Source,
    Summary,
    confirm_again,
    read_summary,
)
from mer_search.errors import DataError
from mer_search.evaluation import baselines
from mer_search.evaluation.metrics import (
    RULES,
    Ints,
    Rule,
    accuracy,
    available,
    best_epoch,
    confusion,
    f1_by_class,
    f1_by_epoch,
    fold_confusion,
    recall_by_class,
    scores,
    tail,
    uar,
    uf1,
)
from mer_search.evaluation.predictions import Predictions
from mer_search.evaluation.statistics import bbc, cross_fit, uf1_interval
from mer_search.files import csv_text, write_whole
from mer_search.search.workspace import Progress
from mer_search.training.fold_store import FOLDS, Key, load_by_subject, named, read_config


def summarise(
    confirmation: Confirmation, folds: Sequence[Predictions], progress: Progress = lambda what, done, total: None
) -> Summary:
    """Every rule and group, the baselines, and the search's own best corrected for its choosing."""
    loaded, target, tuning = confirmation.loaded, confirmation.target, confirmation.tuning
    run, left_out, groups = loaded.run, loaded.run.data.leave_out, confirmation.groups
    rules = scored(folds, groups, target.ties)
    predicted = baselines.predict_all(
        baselines_file(confirmation.store, run), loaded.motion, loaded.labels, loaded.subjects, loaded.folds, progress
    )
    return Summary(
        title=target.title + (" on another dataset" if confirmation.is_transfer else ""),
        dataset=loaded.folder.title,
        synthetic=loaded.folder.synthetic,
        protocol=f"leave-one-{left_out}-out, counts pooled over {left_out}s",
        left_out=left_out,
        changed=dict(target.changed),
        digest=confirmation.digest,
        classes=run.data.classes,
        n_clips=sum(subject in confirmation.subjects for subject in loaded.subjects),
        n_subjects=len(confirmation.subjects),
        n_tuning=sum(subject in tuning for subject in confirmation.subjects),
        tuning_subjects="" if confirmation.is_transfer else target.tuning_subjects,
        epochs=run.epochs,
        databases=confirmation.databases,
        ties=target.ties,
        leaks=run.leaks,
        seeds=confirmation.seeds,
        rules=rules,
        gap=gap(rules),
        baselines={
            name: baseline(classes, loaded.labels, loaded.subjects, groups, len(run.data.classes))
            for name, classes in predicted.items()
        },
        uf1_bbc=corrected(confirmation.corrects, tuning, target.rule),
    )


def scored(
    folds: Sequence[Predictions], groups: Mapping[str, Sequence[str]], ties: str = "earliest"
) -> dict[str, dict[str, RuleScore]]:
    """Every rule and group of subjects, from all folds."""
    return {
        name: {group: _scored(folds, members, rule) for group, members in groups.items()}
        for name, rule in available(folds, ties).items()
    }


def gap(rules: Mapping[str, Mapping[str, RuleScore]]) -> float:
    """What picking the epoch on the test person adds to UF1."""
    return rules["best_test_epoch"]["all"].uf1 - rules["tail"]["all"].uf1


def _scored(folds: Sequence[Predictions], members: Sequence[str], rule: Rule) -> RuleScore:
    """Means over seeds, sd over seeds, interval over subjects, and the same of the seeds' mean probability."""
    own = [fold for fold in folds if fold.subject in members]
    by_seed: dict[int, list[Ints]] = {}
    for fold in own:
        by_seed.setdefault(fold.seed, []).append(fold_confusion(fold, rule))
    matrices = np.array(list(by_seed.values()))  # (seeds, subjects, K, K)
    counts = matrices.sum(1)
    scores_by_seed = uf1(counts)
    together = [confusion(fold.labels, said, counts.shape[-1]) for fold, said in averaged(own, rule).values()]
    return RuleScore(
        uf1=float(scores_by_seed.mean()),
        uar=float(uar(counts).mean()),
        accuracy=float(accuracy(counts).mean()),
        sd=float(scores_by_seed.std(ddof=1)) if len(counts) > 1 else None,
        ci95=uf1_interval(matrices),
        uf1_by_seed=tuple(scores_by_seed.tolist()),
        averaged=_estimate(np.array(together)),
        confusion=tuple(map(tuple, counts.sum(0).tolist())),
        f1_by_class=tuple(f1_by_class(counts).mean(0).tolist()),
        recall_by_class=tuple(recall_by_class(counts).mean(0).tolist()),
        classes_left_out=scores(counts[0]).left_out,
    )


def _estimate(matrices: Ints) -> Estimate:
    """Of subjects' matrices (S, K, K)."""
    return Estimate(uf1=float(uf1(matrices.sum(0))), ci95=uf1_interval(matrices[None]))


def baselines_file(store: Path, run: Run) -> Path:
    """Where the baselines' classes are kept: beside the confirmations of the same motion."""
    return store.with_name(f"baselines-{digest(run.data, *run.motion)}.json")


def baseline(
    predicted: Ints,
    labels: Ints,
    subjects: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    n_classes: int,
) -> dict[str, Score]:
    """A scikit-learn baseline's scores on the same folds, from each clip's class, label and subject."""
    owner, out = np.array(subjects), {}
    for group, members in groups.items():
        own = [owner == member for member in members]
        matrices = np.array([confusion(labels[which], predicted[which], n_classes) for which in own])
        out[group] = pooled(matrices)
    return out


def corrected(trials: Sequence[Path], tuning: Sequence[str], rule: str) -> Corrected | None:
    """BBC-CV and cross-fitting over the trials (their folders) that scored every tuning subject, under the study's
    rule, on those subjects alone; None of fewer than two trials or three subjects."""
    if len(tuning) < 3:
        return None
    stored = {
        path.name: {fold.subject: fold_confusion(fold, RULES[rule]) for fold in load_by_subject(path).values()}
        for path in trials
    }
    complete = {name: found for name, found in stored.items() if set(tuning) <= set(found)}
    if len(complete) < 2:
        return None
    matrices = np.array([[found[subject] for subject in tuning] for found in complete.values()])
    found, interval = bbc(matrices)
    return Corrected(
        uf1=found,
        ci95=interval,
        rule=rule,
        best_trial_uf1=float(uf1(matrices.sum(1)).max()),
        cross_fitted=_estimate(cross_fit(matrices)),
        trials=len(complete),
        n_subjects=len(tuning),
        of=Source(trials=tuple(complete), subjects=tuple(tuning)),
    )


def averaged(folds: Sequence[Predictions], rule: Rule = tail) -> dict[str, tuple[Predictions, Ints]]:
    """subject -> its first seed's predictions, and the class (n,) of each clip by the seeds' mean under a rule."""
    by_subject: dict[str, list[Predictions]] = {}
    for fold in folds:
        by_subject.setdefault(fold.subject, []).append(fold)
    return {name: (own[0], np.mean(list(map(rule, own)), axis=0).argmax(-1)) for name, own in by_subject.items()}


def confirmed_folds(folder: Path) -> dict[Key, Predictions]:
    """A finished confirmation's folds by seed and subject: its own alone, for other confirmations of the configuration,
    of other seeds or of some subjects, keep theirs in the same place.

    Raises:
        DataError: if it is not finished, or one of them is missing or damaged.
    """
    seeds, store = read_summary(folder / "summary.json").seeds, store_of(folder)
    epochs, there = read_config(store / "config.json").train.epochs, load_by_subject(store, seeds)
    wanted = [(seed, subject) for seed in seeds for subject in read_subjects(folder)]
    if missing := [key for key in wanted if key not in there or there[key].epochs != epochs]:
        raise DataError(
            f"{store / FOLDS} must hold {len(wanted)} folds of {epochs} epochs, but lacks {named(missing)}; "
            f"{confirm_again(folder, seeds)}"
        )
    return {key: there[key] for key in wanted}


def read_subjects(folder: Path) -> dict[str, bool]:
    """A confirmation's subjects, and whether the search scored each, from its subjects.csv.

    Raises:
        DataError: if the file is missing or damaged.
    """
    path = folder / "subjects.csv"
    try:
        with path.open(newline="") as file:
            return {row["subject"]: row["tuning"] == "1" for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path} must be a table of subjects, but cannot be read ({error!r}); {confirm_again(folder)}"
        ) from error


def write(confirmation: Confirmation, folds: Sequence[Predictions], summary: Summary) -> None:
    """summary.json, and the tables of `tables`."""
    write_whole(confirmation.folder / "summary.json", summary.to_json())
    name, ties = confirmation.loaded.folder.name, confirmation.target.ties
    for path, text in tables(folds, confirmation.tuning, name, ties).items():
        write_whole(confirmation.folder / path, text)


def tables(folds: Sequence[Predictions], tuning: Sequence[str], dataset: str, ties: str) -> dict[str, str]:
    """File name -> text of what all of a confirmation's folds say; `tuning` are the subjects that the search scored.

    subjects.csv      a row a subject, under the tail rule of the seeds' mean
    megc_log.txt      MEGC 2019's log of the same
    published.csv     a row a seed and subject, at the epoch that the published rule picks on that very subject
    epochs.csv        a row a seed, subject and epoch
    action_units.csv  a row a seed and clip, of training in two stages: the action units it has, and those predicted
    """
    folds = sorted(folds, key=lambda fold: (fold.seed, fold.subject))
    decided = averaged(folds)
    found = {
        "subjects.csv": csv_text(
            ["subject", "tuning", "epochs", *OUTCOME],
            (
                [subject, int(subject in tuning), len(fold.probabilities), *_outcome(fold, predicted)]
                for subject, (fold, predicted) in decided.items()
            ),
        ),
        LOG: megc_log(decided, dataset),
        "published.csv": csv_text(
            ["seed", "subject", "epochs", "best_epoch", *OUTCOME],
            (
                [fold.seed, fold.subject, len(fold.probabilities), best + 1, *_outcome(fold, _guesses(fold, best))]
                for fold in folds
                for best in [best_epoch(*f1_by_epoch(fold), ties == "latest")]
            ),
        ),
        "epochs.csv": csv_text(
            ["seed", "subject", "epoch", *OUTCOME],
            (
                [fold.seed, fold.subject, epoch + 1, *_outcome(fold, _guesses(fold, epoch))]
                for fold in folds
                for epoch in range(fold.epochs)
            ),
        ),
    }
    if any(fold.unit_names for fold in folds):
        found["action_units.csv"] = csv_text(
            ["seed", "clip", "truth", "prediction"], (row for fold in folds for row in _unit_rows(fold))
        )
    return found


OUTCOME = ("clips", "truth", "prediction", "TP", "FP", "FN", "accuracy", "F1")  # of a subject's clips; TP a class


def _outcome(fold: Predictions, predicted: Ints) -> list[object]:
    matrix = confusion(fold.labels, predicted, fold.probabilities.shape[-1])
    hits, score = np.diag(matrix), scores(matrix)
    cells = [fold.labels, predicted, hits, matrix.sum(0) - hits, matrix.sum(1) - hits]
    each = (" ".join(map(str, cell)) for cell in cells)
    return [len(fold.labels), *each, f"{score.accuracy:.4f}", f"{score.uf1:.4f}"]


def _guesses(fold: Predictions, epoch: int) -> Ints:
    return np.asarray(fold.probabilities[epoch].argmax(-1))


def _unit_rows(fold: Predictions) -> Iterator[list[object]]:
    """Action units by name; "?" where the truth is unknown."""
    assert fold.unit_truth is not None and fold.unit_probabilities is not None  # noqa: S101 (of two stages)
    for clip, truth, said in zip(fold.clips, fold.unit_truth, fold.unit_probabilities > 0.5, strict=True):
        shown, guessed = (
            "+".join(name for name, there in zip(fold.unit_names, which, strict=True) if there)
            for which in (truth == 1, said)
        )
        yield [fold.seed, clip, "+".join(filter(None, [shown, "?" * bool(np.isnan(truth).any())])), guessed]


def megc_log(decided: dict[str, tuple[Predictions, Ints]], dataset: str) -> str:
    """MEGC 2019's log: a header line a subject, then clip, truth and prediction."""
    lines = []
    for subject, (fold, predicted) in decided.items():
        lines.append(f"{dataset} {subject}")
        lines += [
            f"{clip.split('/', 1)[1]} {truth} {guess}"
            for clip, truth, guess in zip(fold.clips, fold.labels, predicted, strict=True)
        ]
    return "\n".join(lines) + "\n"
