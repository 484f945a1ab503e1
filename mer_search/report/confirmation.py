"""What a confirmation found, as parts of a document: from its summary, its folds and their history."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mer_search.confirmation.summary import Comparison, Estimate, NetworkScore, Score, Summary
from mer_search.evaluation import metrics
from mer_search.evaluation.metrics import fold_confusion, scores, tail, tail_epochs, uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.presets import PUBLISHED_MARK
from mer_search.report import figures
from mer_search.report.document import Block, Picture, Section, Table, Text
from mer_search.report.networks import network_table
from mer_search.report.summaries import (
    BASELINE_TITLES,
    changes_lines,
    group_title,
    people,
    shown,
    summary_table,
    title,
    top_table,
    verdicts,
)
from mer_search.report.terminal import interval, p_value, plural
from mer_search.training.loop import Epoch

SYNTHETIC = Text("These clips are synthetic: no figure here says anything about real faces.", "unsure", "Synthetic.")
PUBLISHED = {"CASME II, 5 classes": ("MMNet", PUBLISHED_MARK)}  # data -> network and its macro F1, best test epoch


def result(summary: Summary) -> list[Block]:
    """What a reader sees first: UF1 with its interval beside all that it is measured against, and what follows."""
    others = summary.comparison.networks[1:] if summary.comparison else ()
    rows = [
        _interval(f"this network, tail{' (LEAKS)' * summary.leaks}", summary.tail, leaks=summary.leaks, own=True),
        *(_interval(each.name, each) for each in others),
        *(_interval(BASELINE_TITLES[name], groups["all"]) for name, groups in summary.baselines.items()),
        _interval("best test epoch (LEAKS)", summary.rules["best_test_epoch"]["all"], leaks=True),
    ]
    caption = (
        f"{summary.dataset}, {summary.n_subjects} subjects: UF1, counted over all of them, and its 95 % interval for "
        f"{people(summary)}; of networks the mean of {plural(len(summary.seeds), 'seed')}. Below the line, the "
        f"rule of published figures, which picks each {summary.left_out}'s epoch on that very {summary.left_out}."
    )
    return lead(summary.synthetic, Picture("result", caption, [figures.forest(rows)]), *verdicts(summary))


def lead(synthetic: bool, *blocks: Block) -> list[Block]:
    """Blocks that a reader sees first, after a word on clips that are synthetic."""
    return [SYNTHETIC, *blocks] if synthetic else list(blocks)


def forest(found: Comparison) -> Picture:
    """The networks of a comparison, with their intervals."""
    rows = [_interval(each.name, each) for each in found.networks]
    caption = f"UF1, its mean over {plural(len(found.seeds), 'seed')}, and its 95 % interval for new people like these."
    return Picture("result", caption, [figures.forest(rows)])


def _interval(label: str, score: Estimate | NetworkScore, **looks: bool) -> figures.Interval:
    return figures.Interval(label, score.uf1, score.ci95, **looks)


def sections(
    summary: Summary, folds: Sequence[Predictions], history: Sequence[Epoch], tuning: Sequence[str]
) -> list[Section]:
    """Estimates, classes, subjects, learning curves and comparison of a confirmation.

    Args:
        summary: what its summary.json holds.
        folds: its predictions, of the subjects and seeds that it asked for.
        history: the rows of its folds' history.
        tuning: the subjects that the search scored.
    """
    found = [
        Section("All estimates", estimates(summary)),
        Section("Classes", classes(summary)),
        Section("Subjects", [Picture("subjects", SUBJECTS, _subjects(folds, tuning))]),
        Section("Learning curves", [Picture("curves", CURVES, curves(folds, history))]),
    ]
    if counts := metrics.unit_counts(folds):
        found.insert(2, Section("Action units", [_action_units(counts, len(summary.seeds))]))
    if summary.comparison and summary.comparison.pairs:
        lines = [Text(line) for line in summary.conclusions]
        found.append(Section("Against other networks, paired", [*_comparison(summary.comparison), *lines]))
    return found


SUBJECTS = (
    "F1 of each subject over its own classes, the worst first (number of clips): under the tail rule, mean over seeds."
)
CURVES = (
    "Line: mean over seeds; band: their range; grey: the epochs that the tail rule averages. Nothing is chosen by the "
    "test subjects' curve."
)


def _action_units(counts: Mapping[str, NDArray[np.int64]], seeds: int) -> Table:
    rows = [
        (
            name,
            *(
                f"{count / seeds:g}" if count % seeds == 0 else f"{count / seeds:.1f}"
                for count in (present, said, both)
            ),
            2 * both / (present + said) if present + said else None,
        )
        for name, (present, said, both) in counts.items()
    ]
    caption = (
        "What the first stage says of the test subjects' clips: clips that show the unit, clips of which it is "
        "predicted (a probability above one half), and both, mean over seeds. Units that a fold's other subjects never "
        "show, and clips of which it is not known, are left out."
    )
    return Table(("action unit", "clips", "predicted", "both", "F1"), rows, caption)


def estimates(summary: Summary) -> list[Block]:
    """Every rule and group, the published mark beside them, and how it was done."""
    seeds = ", ".join(map(str, summary.seeds))
    blocks: list[Block] = [
        summary_table(summary),
        Text(
            f"{summary.dataset}: {summary.n_clips} clips, {summary.n_subjects} subjects; "
            f"{summary.protocol}; {summary.epochs} epochs; seeds {seeds}."
        ),
        *map(Text, changes_lines([(summary.title, summary.changed)])),
    ]
    if not summary.synthetic and (mark := PUBLISHED.get(summary.dataset)):
        ours = summary.rules["best_test_epoch"]["all"].uf1
        blocks.append(
            Text(
                f"The published mark on these clips is {mark[0]}'s macro F1 of {mark[1]}, under the rule that picks "
                f"each subject's best test epoch. Under the same rule this network has {ours:.4f}; compare nothing "
                "else with it."
            )
        )
    return blocks


def classes(summary: Summary) -> list[Block]:
    """The headline's confusion matrix, its classes one by one, and UAR and accuracy beside UF1."""
    score, seeds = summary.tail, len(summary.seeds)
    matrix = np.array(score.confusion)
    rows = [
        (name, clips // seeds, None if place in score.classes_left_out else f1, recall)
        for place, (name, clips, f1, recall) in enumerate(
            zip(summary.classes, matrix.sum(1), score.f1_by_class, score.recall_by_class, strict=True)
        )
    ]
    rows.append(("mean", summary.n_clips, score.uf1, score.uar))
    scored: dict[str, Mapping[str, Score]] = {"tail": summary.rules["tail"], **summary.baselines}
    together = [
        (called, group_title(summary, group), each.uf1, each.uar, each.accuracy)
        for name, groups in scored.items()
        for group, each in shown(groups)
        for called in [BASELINE_TITLES.get(name) or title(summary, name, group)]
    ]
    share = "Share of each class's clips, and how many" + (", mean over seeds" if seeds > 1 else "")
    return [
        Picture("confusion", f"{share}, under the tail rule.", [figures.confusion(matrix, summary.classes, seeds)]),
        Table(
            ("class", "clips", "F1", "recall"),
            rows,
            f"Of the same predictions. The means over classes are UF1 and UAR; accuracy is {score.accuracy:.3f}.",
            strong=len(rows) - 1,
        ),
        Table(("estimate", "subjects", "UF1", "UAR", "accuracy"), together, left=2),
    ]


def _subjects(folds: Sequence[Predictions], tuning: Sequence[str]) -> list[figures.Drawing]:
    f1: dict[str, list[float]] = defaultdict(list)
    for fold in folds:
        f1[fold.subject].append(scores(fold_confusion(fold, tail)).uf1)
    clips = {fold.subject: len(fold.labels) for fold in folds}
    return figures.subjects({subject: float(np.mean(each)) for subject, each in f1.items()}, clips, tuning)


def chosen(summaries: Sequence[Summary], shown_first: Summary) -> list[Section]:
    """Which of the confirmed trials the page is of, the best first; nothing if there is one alone."""
    if len(summaries) < 2:
        return []
    each = ", ".join(f"{summary.title} {summary.tail.uf1:.3f}" for summary in summaries)
    said = (
        f"This page is of {shown_first.title}, UF1 {shown_first.tail.uf1:.3f}. Confirmed are {each}. Choosing the best "
        "of them by these figures is again a choice: the best looks better than it is. `mer-search report --trial "
        "NUMBER` shows another."
    )
    return [Section("Confirmed trials", [Text(said), top_table(summaries)])]


def curves(folds: Sequence[Predictions], history: Sequence[Epoch]) -> list[figures.Drawing]:
    """The learning curves of folds, which all have as many epochs: UF1 and loss."""
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
    scored = np.array([uf1(np.sum(each, axis=0)) for each in by_seed.values()])
    return figures.curves(scored, loss, tail_epochs(epochs))


def compared(others: Sequence[Comparison]) -> list[Section]:
    """Comparisons that were made beside the confirmation: of presets, of trials, of the steps of a plan."""
    blocks = [block for each in others for block in comparison(each)]
    return [Section("Comparisons that were made", blocks)] if blocks else []


def comparison(found: Comparison) -> list[Block]:
    """Networks on the same subjects and seeds, and what follows for each pair."""
    seeds = ", ".join(map(str, found.seeds))
    lines = [Text(f"{pair.conclusion}.") for pair in found.pairs]
    on = f"{plural(len(found.subjects), 'subject')}, with {plural(len(found.seeds), 'seed')} ({seeds})"
    return [Text(f"On {on}:"), *_comparison(found), *lines]


def _comparison(found: Comparison) -> list[Block]:
    pairs = [
        (
            f"{pair.first} - {pair.second}",
            f"{pair.difference:+.3f}",
            "{:+.3f} to {:+.3f}".format(*pair.ci95) if pair.ci95 else interval(None),
            p_value(pair.p),
            p_value(pair.p_holm),
        )
        for pair in found.pairs
    ]
    return [
        network_table(found.networks),
        *map(Text, changes_lines((each.name, each.changed) for each in found.networks)),
        Table(
            ("difference", "UF1", "95 % interval", "p", "p, Holm"),
            pairs,
            "Same seeds and folds. p: how often exchanging the two networks' results, subject by subject, gives as "
            "large a difference; Holm: corrected for the number of pairs.",
        ),
    ]
