"""What a confirmation found, as parts of a document: from its summary, its folds and their history."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mer_search.confirmation.scoring import averaged
from mer_search.confirmation.summary import Comparison, Summary
from mer_search.evaluation import metrics
from mer_search.evaluation.metrics import scores, tail_epochs, uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.presets import PUBLISHED_MARK
from mer_search.report.conclusions import gap
from mer_search.report.document import Block, Picture, Section, Table, Text
from mer_search.report.figures import confusion_png, curves_png, subjects_png
from mer_search.report.networks import network_table
from mer_search.report.summaries import conclusion, summary_table
from mer_search.report.terminal import interval
from mer_search.training.loop import Epoch

SYNTHETIC = Text("These clips are synthetic: no figure here says anything about real faces.", warning=True)
PUBLISHED = {"CASME II, 5 classes": ("MMNet", PUBLISHED_MARK)}  # data -> network and its macro F1, best test epoch


def estimates(summary: Summary) -> list[Block]:
    """The honest estimates, the published rule's beside them, and what they mean."""
    blocks: list[Block] = [
        Text(
            f"{summary.dataset}: {summary.n_clips} clips, {summary.n_subjects} subjects; "
            f"{summary.protocol}; {summary.epochs} epochs; seeds {', '.join(map(str, summary.seeds))}."
        ),
        *map(Text, [conclusion(summary), *summary.conclusions, gap(summary)]),
        summary_table(summary),
    ]
    if summary.synthetic:
        blocks.insert(0, SYNTHETIC)
    elif mark := PUBLISHED.get(summary.dataset):
        ours = summary.rules["best_test_epoch"]["all"].uf1
        blocks.append(
            Text(
                f"The published mark on these clips is {mark[0]}'s macro F1 of {mark[1]}, under the rule that picks "
                f"each subject's best test epoch. Under the same rule this network has {ours:.4f}; compare nothing "
                "else with it."
            )
        )
    return blocks


def sections(
    summary: Summary, folds: Sequence[Predictions], history: Sequence[Epoch], tuning: Sequence[str]
) -> list[Section]:
    """Confusion, subjects, learning curves and comparison of a confirmation.

    Args:
        summary: what its summary.json holds.
        folds: its predictions, of the subjects and seeds that it asked for.
        history: the rows of its folds' history.
        tuning: the subjects that the search scored.
    """
    found = [
        Section("Confusion", [Picture("confusion", "Clips by truth and prediction", confusion(summary, folds))]),
        Section("Subjects", [Picture("subjects", "The worst first (number of clips)", _subjects(folds, tuning))]),
        Section("Learning curves", [Picture("curves", CURVES, curves(folds, history))]),
    ]
    if summary.comparison and summary.comparison.pairs:
        found.append(Section("Against other networks, paired", _comparison(summary.comparison)))
    return found


CURVES = (
    "Line: mean over seeds; band: their range; green: the epochs that the tail rule averages. Nothing is chosen by the "
    "test subjects' curve."
)


def confusion(summary: Summary, folds: Sequence[Predictions]) -> bytes:
    """Its picture, under the tail rule, the seeds' probabilities averaged."""
    title = f"{summary.title}, {summary.dataset}: tail rule, seeds averaged"
    return confusion_png(np.sum(list(_matrices(folds).values()), axis=0), summary.classes, title)


def _matrices(folds: Sequence[Predictions]) -> dict[str, NDArray[np.int64]]:
    return {
        subject: metrics.confusion(fold.labels, predicted, fold.probabilities.shape[-1])
        for subject, (fold, predicted) in averaged(folds).items()
    }


def _subjects(folds: Sequence[Predictions], tuning: Sequence[str]) -> bytes:
    matrices = _matrices(folds)
    f1 = {subject: scores(matrix).uf1 for subject, matrix in matrices.items()}
    return subjects_png(f1, {subject: int(matrix.sum()) for subject, matrix in matrices.items()}, tuning)


def curves(folds: Sequence[Predictions], history: Sequence[Epoch]) -> bytes:
    """The learning curves of folds, which all have as many epochs."""
    by_seed: dict[int, list[NDArray[np.int64]]] = defaultdict(list)
    for fold in folds:
        classes = fold.probabilities.shape[-1]
        by_seed[fold.seed].append(
            np.stack([metrics.confusion(fold.labels, epoch.argmax(-1), classes) for epoch in fold.probabilities])
        )
    keys, epochs = {(fold.seed, fold.fold) for fold in folds}, folds[0].epochs
    losses: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in history:
        if row.stage == 2 and (row.seed, row.subject) in keys:  # of emotions
            losses[row.seed, row.epoch].append(row.train_loss)
    loss = np.array([[np.mean(losses[seed, epoch] or np.nan) for epoch in range(1, epochs + 1)] for seed in by_seed])
    return curves_png(np.array([uf1(np.sum(each, axis=0)) for each in by_seed.values()]), loss, tail_epochs(epochs))


def compared(others: Sequence[Comparison]) -> list[Section]:
    """Comparisons that were made beside the confirmation: of presets, of trials, of the steps of a plan."""
    blocks: list[Block] = []
    for each in others:
        seeds = ", ".join(map(str, each.seeds))
        blocks += [Text(f"On {len(each.subjects)} subjects, with seeds {seeds}:"), *_comparison(each)]
    return [Section("Comparisons that were made", blocks)] if blocks else []


def _comparison(found: Comparison) -> list[Block]:
    pairs = [
        (
            f"{pair.first} - {pair.second}",
            f"{pair.difference:+.3f}",
            "{:+.3f} to {:+.3f}".format(*pair.ci95) if pair.ci95 else interval(None),
            f"{pair.p:.3f}",
            f"{pair.p_holm:.3f}",
        )
        for pair in found.pairs
    ]
    return [
        network_table(found.networks),
        Table(
            ("difference", "UF1", "95 % interval", "p", "p, Holm"),
            pairs,
            "Same seeds and folds. p: how often exchanging the two networks' results, subject by subject, gives as "
            "large a difference; Holm: corrected for the number of pairs.",
        ),
        *(Text(f"{pair.conclusion}.") for pair in found.pairs),
    ]
