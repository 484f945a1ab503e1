"""A confirmation's scores: every rule and group of subjects, the baselines, and the files that say so."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mer_search.config import Run, digest
from mer_search.confirmation.compare import MIN_SUBJECTS, Contestant, paired, tail_matrices
from mer_search.confirmation.confirm import Confirmation, groups_of
from mer_search.confirmation.folders import store_of
from mer_search.confirmation.score import LOG, pooled
from mer_search.confirmation.summary import (
    Corrected,
    Estimate,
    Pair,
    RuleScore,
    Source,
    Summary,
    confirm_again,
    read_subjects,
    read_summary,
)
from mer_search.errors import DataError
from mer_search.evaluation import baselines, metrics
from mer_search.evaluation.predictions import Predictions, grouped
from mer_search.evaluation.statistics import bbc, cross_fit, uf1_interval
from mer_search.files import csv_text, write_whole
from mer_search.search.workspace import Progress, silent
from mer_search.training.fold_store import FOLDS, Key, load_by_subject, named, read_config

OUTCOME = ("clips", "truth", "prediction", "TP", "FP", "FN", "accuracy", "F1")  # of a subject's clips; TP a class


def summarise(confirmation: Confirmation, folds: Sequence[Predictions], progress: Progress = silent) -> Summary:
    """Every rule and group, the baselines, and the search's own best corrected for its choosing."""
    loaded, target, run = confirmation.loaded, confirmation.target, confirmation.loaded.run
    file, left_out = baselines_file(confirmation.store, run), run.data.leave_out
    baselines.keep_predictions(file, loaded.motion, loaded.labels, loaded.subjects, loaded.folds, progress)
    return Summary(
        title=target.title + (f" on {loaded.folder.dataset.title}" if confirmation.is_transfer else ""),
        dataset=loaded.folder.title,
        synthetic=loaded.folder.synthetic,
        protocol=f"leave-one-{left_out}-out, counts pooled over {left_out}s",
        changed=dict(target.changed),
        tuning_subjects="" if confirmation.is_transfer else target.tuning_subjects,
        given=target.given,
        databases=confirmation.databases,
        ties=target.ties,
        seeds=confirmation.seeds,
        uf1_bbc=corrected(confirmation.corrects, confirmation.tuning, target.rule),
        **figures(run, folds, confirmation.tuned, confirmation.databases, target.ties, file),
    )


def figures(
    run: Run,
    folds: Sequence[Predictions],
    tuned: Mapping[str, bool],
    databases: Mapping[str, tuple[str, ...]],
    ties: str,
    file: Path,
) -> dict[str, Any]:
    """The fields of a summary that can be computed from a run's folds, by seeds and subjects, and the baselines' file;
    `tuned` says of each subject whether the search scored it."""
    groups, n_classes, subjects = groups_of(tuned, databases), len(run.data.classes), sorted(tuned)
    network = tail_matrices(folds, sorted({fold.seed for fold in folds}), subjects)
    plain = _baselines(file, subjects, n_classes)
    places = {group: sorted(map(subjects.index, members)) for group, members in groups.items()}
    in_pairs = ["all"] if len(groups.get("other", ())) < MIN_SUBJECTS else ["all", "other"]
    rules = {
        name: {group: _scored(folds, members, rule) for group, members in groups.items()}
        for name, rule in metrics.available(folds, ties).items()
    }
    return {
        "digest": digest(run),
        "classes": run.data.classes,
        "left_out": run.data.leave_out,
        "leaks": run.leaks,
        "epochs": run.epochs,
        "n_clips": sum(len(fold.clips) for fold in folds if fold.seed == folds[0].seed),
        "n_subjects": len(tuned),
        "n_tuning": sum(tuned.values()),
        "tuning_by_database": {name: sum(tuned[each] for each in own) for name, own in databases.items()},
        "rules": rules,
        "gap": rules["best_test_epoch"]["all"].uf1 - rules["tail"]["all"].uf1,
        "baselines": {
            name: {group: pooled(matrices[which]) for group, which in places.items()}
            for name, matrices in plain.items()
        },
        "against_baseline": {
            group: _against_baseline(network, plain, places[group]) for group in in_pairs if not run.leaks
        },
    }


def _scored(folds: Sequence[Predictions], members: Sequence[str], rule: metrics.Rule) -> RuleScore:
    """Means over seeds, sd over seeds, interval over subjects, and the same of the seeds' mean probability."""
    folds = [fold for fold in folds if fold.subject in members]
    by_seed = [[metrics.fold_confusion(fold, rule) for fold in own] for own in grouped(folds, "seed").values()]
    matrices = np.array(by_seed)  # (seeds, subjects, K, K)
    counts = matrices.sum(1)
    uf1 = metrics.uf1(counts)
    together = [metrics.confusion(fold.labels, said, counts.shape[-1]) for fold, said in averaged(folds, rule).values()]
    return RuleScore(
        uf1=float(uf1.mean()),
        uar=float(metrics.uar(counts).mean()),
        accuracy=float(metrics.accuracy(counts).mean()),
        sd=float(uf1.std(ddof=1)) if len(counts) > 1 else None,
        ci95=uf1_interval(matrices),
        uf1_by_seed=tuple(uf1.tolist()),
        averaged=_estimate(np.array(together)),
        confusion=tuple(map(tuple, counts.sum(0).tolist())),
        f1_by_class=tuple(metrics.f1_by_class(counts).mean(0).tolist()),
        recall_by_class=tuple(metrics.recall_by_class(counts).mean(0).tolist()),
        classes_left_out=tuple(np.flatnonzero(~metrics.occurring(matrices)).tolist()),
    )


def _estimate(matrices: metrics.Ints) -> Estimate:
    """Of subjects' matrices (S, K, K)."""
    return Estimate(uf1=float(metrics.uf1(matrices.sum(0))), ci95=uf1_interval(matrices[None]))


def baselines_file(store: Path, run: Run) -> Path:
    """Where the baselines' classes are kept: beside the confirmations of the same motion."""
    return store.with_name(f"baselines-{digest(run.data, *run.motion)}.json")


def _baselines(path: Path, subjects: Sequence[str], n_classes: int) -> dict[str, metrics.Ints]:
    """Each baseline's (S, K, K) confusion matrices of these subjects, on the same folds, from their kept classes."""
    try:
        kept = json.loads(path.read_text())
        owner, labels = np.array(kept["subjects"]), np.array(kept["labels"], np.int64)
        predicted = {name: np.array(classes, np.int64) for name, classes in kept["predicted"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} must hold the baselines' classes, but cannot be read ({error!r}); delete it, and the same "
            "`mer-search confirm` makes it anew"
        ) from error
    clips = [owner == subject for subject in subjects]
    return {
        name: np.array([metrics.confusion(labels[own], classes[own], n_classes) for own in clips])
        for name, classes in predicted.items()
    }


def _against_baseline(network: metrics.Ints, plain: Mapping[str, metrics.Ints], places: Sequence[int]) -> Pair:
    """A network (M, S, K, K) against the better one of the baselines (S, K, K), on the subjects in these places."""
    better = max(plain, key=lambda name: metrics.uf1(plain[name][places].sum(0)))
    matrices, other = np.broadcast_arrays(network[:, places], plain[better][places])
    return paired(Contestant("network", "", matrices), [Contestant(better, "", other)])[0]


def corrected(trials: Sequence[Path], tuning: Sequence[str], rule: str) -> Corrected | None:
    """BBC-CV and cross-fitting over the trials (their folders) that scored every tuning subject, under the study's
    rule, on those subjects alone; None of fewer than two trials or three subjects."""
    if len(tuning) < 3:
        return None
    complete: dict[str, list[metrics.Ints]] = {}
    for path in trials:
        folds = {fold.subject: fold for fold in load_by_subject(path).values()}
        if set(tuning) <= set(folds):
            complete[path.name] = [metrics.fold_confusion(folds[each], metrics.RULES[rule]) for each in tuning]
    if len(complete) < 2:
        return None
    matrices = np.array(list(complete.values()))
    found, interval = bbc(matrices)
    return Corrected(
        uf1=found,
        ci95=interval,
        rule=rule,
        best_trial_uf1=float(metrics.uf1(matrices.sum(1)).max()),
        cross_fitted=_estimate(cross_fit(matrices)),
        trials=len(complete),
        n_subjects=len(tuning),
        classes_left_out=tuple(np.flatnonzero(~metrics.occurring(matrices)).tolist()),
        of=Source(trials=tuple(complete), subjects=tuple(tuning)),
    )


def averaged(
    folds: Sequence[Predictions], rule: metrics.Rule = metrics.tail
) -> dict[str, tuple[Predictions, metrics.Ints]]:
    """subject -> its first seed's predictions, and the class (n,) of each clip by the seeds' mean under a rule."""
    by_subject = grouped(folds, "subject")
    return {name: (own[0], np.mean(list(map(rule, own)), axis=0).argmax(-1)) for name, own in by_subject.items()}


def confirmed_folds(folder: Path) -> dict[Key, Predictions]:
    """A finished confirmation's folds by seed and subject: its own alone, for other confirmations of the configuration,
    of other seeds or of some subjects, keep theirs in the same place."""
    seeds, store = read_summary(folder / "summary.json").seeds, store_of(folder)
    epochs, there = read_config(store / "config.json").train.epochs, load_by_subject(store, seeds)
    wanted = [(seed, subject) for seed in seeds for subject in read_subjects(folder)]
    if missing := [key for key in wanted if key not in there or there[key].epochs != epochs]:
        raise DataError(
            f"{store / FOLDS} must hold {len(wanted)} folds of {epochs} epochs, but lacks {named(missing)}; "
            f"{confirm_again(folder, seeds)}"
        )
    return {key: there[key] for key in wanted}


def write(confirmation: Confirmation, folds: Sequence[Predictions], summary: Summary) -> None:
    """summary.json, and the tables of `tables`."""
    found = tables(folds, confirmation.tuned, confirmation.loaded.folder.name, summary.ties)
    for name, text in {"summary.json": summary.to_json(), **found}.items():
        write_whole(confirmation.folder / name, text)


def tables(folds: Sequence[Predictions], tuned: Mapping[str, bool], dataset: str, ties: str) -> dict[str, str]:
    """File name -> text of what all of a confirmation's folds say; `tuned` is whether the search scored a subject.

    subjects.csv      a row a subject, under the tail rule of the seeds' mean
    megc_log.txt      MEGC 2019's log of the same
    published.csv     a row a seed and subject, at the epoch that the published rule picks on that very subject
    epochs.csv        a row a seed, subject and epoch
    action_units.csv  a row a seed and clip, of training in two stages: the action units it has, and those predicted
    """
    folds = sorted(folds, key=lambda fold: (fold.seed, fold.subject))
    decided = averaged(folds)
    subjects = [[name, int(tuned[name]), fold.epochs, *_outcome(fold, said)] for name, (fold, said) in decided.items()]
    published, epochs = [], []
    for fold in folds:
        each = [_outcome(fold, np.asarray(probs.argmax(-1))) for probs in fold.probabilities]
        best = metrics.best_epoch(*metrics.f1_by_epoch(fold), ties == "latest")
        published.append([fold.seed, fold.subject, fold.epochs, best + 1, *each[best]])
        epochs += [[fold.seed, fold.subject, epoch, *cells] for epoch, cells in enumerate(each, 1)]
    found = {
        "subjects.csv": csv_text(["subject", "tuning", "epochs", *OUTCOME], subjects),
        LOG: megc_log(decided, dataset),
        "published.csv": csv_text(["seed", "subject", "epochs", "best_epoch", *OUTCOME], published),
        "epochs.csv": csv_text(["seed", "subject", "epoch", *OUTCOME], epochs),
    }
    if any(fold.unit_names for fold in folds):
        units = (row for fold in folds for row in _unit_rows(fold))
        found["action_units.csv"] = csv_text(["seed", "clip", "truth", "prediction"], units)
    return found


def _outcome(fold: Predictions, predicted: metrics.Ints) -> list[object]:
    matrix = metrics.confusion(fold.labels, predicted, fold.probabilities.shape[-1])
    hits = np.diag(matrix)
    cells = [fold.labels, predicted, hits, matrix.sum(0) - hits, matrix.sum(1) - hits]
    each = (" ".join(map(str, cell)) for cell in cells)
    return [len(fold.labels), *each, f"{metrics.accuracy(matrix):.4f}", f"{metrics.macro_f1(matrix):.4f}"]


def _unit_rows(fold: Predictions) -> Iterator[list[object]]:
    """Action units by name; "?" where the truth is unknown."""
    assert fold.unit_truth is not None and fold.unit_probabilities is not None  # noqa: S101 (of two stages)
    names = np.array(fold.unit_names)
    for clip, truth, said in zip(fold.clips, fold.unit_truth, fold.unit_probabilities > 0.5, strict=True):
        shown = [*names[truth == 1], *(["?"] if np.isnan(truth).any() else [])]
        yield [fold.seed, clip, "+".join(shown), "+".join(names[said])]


def megc_log(decided: dict[str, tuple[Predictions, metrics.Ints]], dataset: str) -> str:
    """MEGC 2019's log: a header line a subject, then clip, truth and prediction."""
    lines = []
    for subject, (fold, predicted) in decided.items():
        lines.append(f"{dataset} {subject}")
        lines += [
            f"{clip.split('/', 1)[1]} {truth} {guess}"
            for clip, truth, guess in zip(fold.clips, fold.labels, predicted, strict=True)
        ]
    return "\n".join(lines) + "\n"
