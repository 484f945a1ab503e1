"""Pages of a confirmation, of a comparison and of a study."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.confirmation import folders
from mer_search.confirmation.compare import kept
from mer_search.confirmation.confirm import Confirmation
from mer_search.confirmation.difficulty import mistakes_csv, of_study
from mer_search.confirmation.scoring import confirmed_folds
from mer_search.confirmation.summary import Comparison, Estimate, NetworkScore, Score, Summary, read_summary
from mer_search.errors import DataError
from mer_search.evaluation import metrics
from mer_search.evaluation.metrics import fold_confusion, last, macro_f1, pooled_uf1, tail, tail_epochs
from mer_search.evaluation.predictions import Predictions, grouped
from mer_search.files import write_whole
from mer_search.presets import PUBLISHED_MARK
from mer_search.report import figures, methods, saliency, search, summaries
from mer_search.report.document import Block, Document, Picture, Section, Table, Text, write_document
from mer_search.report.figures import BLUE, GREY, RED
from mer_search.report.networks import network_table
from mer_search.report.summaries import BASELINE_TITLES, changes_lines, lead
from mer_search.report.terminal import interval, not_counted, p_value, plural
from mer_search.search.storage import best_trial, results
from mer_search.search.trial import trial_folder
from mer_search.search.workspace import Progress
from mer_search.training.fold_store import read_config, read_history
from mer_search.training.loop import Epoch

NOT_CONFIRMED = Text(
    "The search's own scores, of the best of many noisy trials on few subjects, look better than they are: run "
    "`mer-search confirm`, and then this report again.",
    "unsure",
    "No trial is confirmed on all subjects yet.",
)
SUBJECTS = (
    "F1 of each subject over the classes that it has or is given, the worst first (number of clips): under the tail "
    "rule, mean over seeds."
)
NAMED_SUBJECTS = 10  # subjects of a comparison; of more, their number stands for them
CURVES = (
    "Line: mean over seeds; band: their range; grey: the epochs that the tail rule averages. Nothing is chosen by the "
    "test subjects' curve."
)
PUBLISHED = {("CASME II, 5 classes", 26): ("MMNet", PUBLISHED_MARK)}  # data, subjects -> network, F1 by best test epoch


def write_report(confirmation: Confirmation, folds: Sequence[Predictions], summary: Summary) -> dict[str, bytes]:
    """report.html in the confirmation's folder, the same as report.md; the page's pictures, as PNG, by name."""
    first, history = result(summary), read_history(confirmation.store)
    sections = _sections(summary, folds, history, confirmation.tuning)
    write_document(Document(summary.title, first, sections), confirmation.folder / "report.html")
    blocks = [*first, *(block for section in sections for block in section.blocks)]
    drawings = [each for block in blocks if isinstance(block, Picture) for each in block.files().items()]
    return {name: drawing("png") for name, drawing in drawings}


def write_comparison(found: Comparison, page: Path) -> Path:
    """The page of a comparison, the same as Markdown."""
    names = " against ".join(each.name for each in found.networks)
    caption = f"UF1, its mean over {plural(len(found.seeds), 'seed')}, and its 95 % interval for new people like these."
    forest = figures.forest([_compared(each) for each in found.networks])
    first = lead(found.synthetic, Picture("result", caption, [forest]))
    return write_document(Document(names, first, [Section(found.dataset, comparison(found))]), page)


def _compared(network: NetworkScore) -> tuple[str, NetworkScore, str]:
    """A network's row of a picture of figures."""
    return network.title, network, RED if network.leaks else GREY


def write_study(study: optuna.Study, trial: int | None, progress: Progress) -> Path:
    """The report of a study in its results folder: report.html, the same as report.md, its trials as trials.csv, and
    the clips that all networks have wrong as always_wrong.csv. It is of a confirmed trial, by default the one that the
    search puts first.

    Raises:
        UsageError: if the trial is not confirmed.
        DataError: if a confirmation cannot be read.
    """
    out, best = results(study), best_trial(study)
    confirmed = {path: read_summary(path / "summary.json") for path in folders.confirmations(study).values()}
    folder = None if trial is None and not confirmed else folders.confirmation(study, trial)
    first = lead(study.user_attrs["synthetic"], NOT_CONFIRMED)
    found, faces, paper = list[Section](), list[Section](), list[Section]()
    if source := folder or (best and trial_folder(out, best.number)):
        run = read_config(source / "config.json")
        clips, errors = saliency.clips_of(study, run, progress), of_study(study)
        if folder:
            summary, asked = confirmed[folder], list(confirmed_folds(folder).values())
            tuning = [each for name in study.user_attrs["subjects"] for each in summary.databases.get(name, (name,))]
            first = result(summary)
            found = [
                *chosen(sorted(confirmed.values(), key=lambda each: -each.tail.uf1), summary),
                *_sections(summary, asked, read_history(folder), tuning),
            ]
            faces = [saliency.looked_at(folder, asked, run, clips, progress)]
            facts = search.facts(study) | {"is_best": best is not None and folder.name == f"trial-{best.number}"}
            paper = [methods.section(run, summary, facts, _environment(folder))]
        faces.append(saliency.always_wrong(errors, run.data.classes, clips))
        write_whole(out / "always_wrong.csv", mistakes_csv(errors, run.data.classes))
    progress("drawing charts", 0, 1)
    compared = [block for each in kept(out.parent, study.user_attrs["dataset"]) for block in comparison(each)]
    others = [Section("Comparisons that were made", compared)] if compared else []
    if elsewhere := folders.other_confirmations(study):
        table = summaries.others_table(elsewhere)
        found.append(Section(table.title, [table]))
    write_whole(out / "trials.csv", search.trials_csv(study))
    sections = [*found, *search.sections(study), *others, *faces, *paper]
    named = f"{study.study_name}: {study.user_attrs['dataset']}"
    return write_document(Document(named, first, sections), out / "report.html")


def _environment(folder: Path) -> dict[str, Any]:
    """What a confirmation was computed with."""
    try:
        return dict(json.loads((folder / "env.json").read_text()))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} must hold a confirmation, but cannot be read ({error}); confirm it again") from error


def result(summary: Summary) -> list[Block]:
    """What a reader sees first: UF1 with its interval beside all that it is measured against, and what follows."""
    others = summary.comparison.networks[1:] if summary.comparison else ()
    rows: list[tuple[str, Estimate | NetworkScore, str]] = [
        (f"this network, tail{' (LEAKS)' * summary.leaks}", summary.tail, RED if summary.leaks else BLUE),
        *map(_compared, others),
        *((BASELINE_TITLES[name], groups["all"], GREY) for name, groups in summary.baselines.items()),
        ("best test epoch (LEAKS)", summary.rules["best_test_epoch"]["all"], RED),
    ]
    people, seeds = summaries.people(summary), plural(len(summary.seeds), "seed")
    caption = (
        f"{summary.dataset}, {summary.n_subjects} subjects: UF1, counted over all of them, and its 95 % interval for "
        f"{people}; of networks the mean of {seeds}. Below the line, the rule of published figures, which picks each "
        f"{summary.left_out}'s epoch on that very {summary.left_out}."
    )
    return lead(summary.synthetic, Picture("result", caption, [figures.forest(rows)]), *summaries.verdicts(summary))


def chosen(confirmed: Sequence[Summary], first: Summary) -> list[Section]:
    """Which of the confirmed trials, the best first, the page is of; nothing if there is one alone."""
    if len(confirmed) < 2:
        return []
    each = ", ".join(f"{summary.title} {summary.tail.uf1:.3f}" for summary in confirmed)
    said = (
        f"This page is of {first.title}, UF1 {first.tail.uf1:.3f}. Confirmed are {each}. `mer-search report --trial "
        "NUMBER` shows another. Without --trial the page is of the one that the search puts first, for to choose the "
        "best of them by these figures is again a choice, and the best looks better than it is."
    )
    return [Section("Confirmed trials", [Text(said), summaries.top_table(confirmed)])]


def _sections(
    summary: Summary, folds: Sequence[Predictions], history: Sequence[Epoch], tuning: Sequence[str]
) -> list[Section]:
    """Estimates, classes, subjects, learning curves and comparison of a confirmation, whose folds these are."""
    clips, f1 = {fold.subject: len(fold.labels) for fold in folds}, dict[str, float]()
    for subject, own in grouped(folds, "subject").items():
        f1[subject] = float(np.mean([macro_f1(fold_confusion(fold, tail)) for fold in own]))
    bars = figures.subjects(f1, clips, tuning)
    units = metrics.unit_counts(folds)
    found = [
        Section("All estimates", estimates(summary, tuning)),
        Section("Classes", classes(summary)),
        *([Section("Action units", [_action_units(units, len(summary.seeds))])] if units else []),
        Section("Subjects", [Picture("subjects", SUBJECTS, bars)]),
        Section("Learning curves", [Picture("curves", CURVES, curves(folds, history))]),
    ]
    if summary.comparison and summary.comparison.pairs:
        blocks = [*_comparison(summary.comparison), *map(Text, summary.conclusions)]
        found.append(Section("Against other networks, paired", blocks))
    return found


def estimates(summary: Summary, tuning: Sequence[str] = ()) -> list[Block]:
    """Every rule and group, the published mark beside them, and how it was done."""
    counted, seeds = f"{summary.n_clips} clips, {summary.n_subjects} subjects", ", ".join(map(str, summary.seeds))
    done = f"{summary.dataset}: {counted}; {summary.protocol}; {summary.epochs} epochs; seeds {seeds}."
    lines = [done, *changes_lines([(summary.title, summary.changed)])]
    if tuning:
        lines.append(f"Tuning subjects, by whose scores the search chose: {', '.join(tuning)}.")
    if not summary.synthetic and (mark := PUBLISHED.get((summary.dataset, summary.n_subjects))):
        ours = summary.rules["best_test_epoch"]["all"].uf1
        lines.append(
            f"The published mark on these clips is {mark[0]}'s macro F1 of {mark[1]}, under the rule that picks each "
            f"subject's best test epoch. Under the same rule this network has {ours:.4f}; compare nothing else with it."
        )
    return [summaries.summary_table(summary), *map(Text, lines)]


def classes(summary: Summary) -> list[Block]:
    """The headline's confusion matrix, its classes one by one, and UAR and accuracy beside UF1."""
    score, seeds = summary.tail, len(summary.seeds)
    matrix = np.array(score.confusion)
    columns = zip(summary.classes, matrix.sum(1), score.f1_by_class, score.recall_by_class, strict=True)
    rows = [
        (name, clips // seeds, *((None, None) if place in score.classes_left_out else (f1, recall)))
        for place, (name, clips, f1, recall) in enumerate(columns)
    ]
    rows.append(("mean", summary.n_clips, score.uf1, score.uar))
    scored: dict[str, Mapping[str, Score]] = {"tail": summary.rules["tail"], **summary.baselines}
    together = [
        (called, summaries.group_title(summary, group), each.uf1, each.uar, each.accuracy)
        for name, groups in scored.items()
        for group, each in summaries.shown(groups)
        for called in [BASELINE_TITLES.get(name) or summaries.title(summary, name, group)]
    ]
    share = "Share of each class's clips, and how many" + (", mean over seeds" if seeds > 1 else "")
    means = f"Of the same predictions. The means over classes are UF1 and UAR; accuracy is {score.accuracy:.3f}."
    return [
        Picture("confusion", f"{share}, under the tail rule.", [figures.confusion(matrix, summary.classes, seeds)]),
        Table(("class", "clips", "F1", "recall"), rows, means, strong=len(rows) - 1),
        Table(("estimate", "subjects", "UF1", "UAR", "accuracy"), together, left=2),
    ]


def _action_units(counts: Mapping[str, NDArray[np.int64]], seeds: int) -> Table:
    rows = []
    for name, (present, said, both) in counts.items():
        means = (f"{count / seeds:g}" if count % seeds == 0 else f"{count / seeds:.1f}" for count in counts[name])
        rows.append((name, *means, 2 * both / (present + said) if present + said else None))
    caption = (
        "What the first stage says of the test subjects' clips: clips that show the unit, clips of which it is "
        "predicted (a probability above one half), and both, mean over seeds. Units that a fold's other subjects never "
        "show, and clips of which it is not known, are left out."
    )
    return Table(("action unit", "clips", "predicted", "both", "F1"), rows, caption)


def curves(folds: Sequence[Predictions], history: Sequence[Epoch]) -> list[figures.Drawing]:
    """The learning curves of folds, which all have as many epochs: UF1 and loss."""
    by_seed, epochs = grouped(folds, "seed"), range(1, folds[0].epochs + 1)
    keys = {(fold.seed, fold.fold) for fold in folds}
    losses: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in history:
        if row.stage == 2 and (row.seed, row.subject) in keys:  # of emotions
            losses[row.seed, row.epoch].append(row.train_loss)
    loss = [[np.mean(losses[seed, epoch] or np.nan) for epoch in epochs] for seed in by_seed]
    uf1 = [[pooled_uf1([fold.until(epoch) for fold in own], last) for epoch in epochs] for own in by_seed.values()]
    return figures.curves(np.array(uf1), np.array(loss), tail_epochs(len(epochs)))


def comparison(found: Comparison) -> list[Block]:
    """Networks on the same subjects and seeds, and what follows for each pair."""
    seeds = f"{plural(len(found.seeds), 'seed')} ({', '.join(map(str, found.seeds))})"
    lines = map(Text, summaries.comparison_lines(found))
    named = f" ({', '.join(found.subjects)})" * (len(found.subjects) <= NAMED_SUBJECTS)
    return [Text(f"On {plural(len(found.subjects), 'subject')}{named}, with {seeds}:"), *_comparison(found), *lines]


def _comparison(found: Comparison) -> list[Block]:
    pairs = []
    for pair in found.pairs:
        names, difference = f"{pair.first} - {pair.second}", f"{pair.difference:+.3f}"
        ends = "{:+.3f} to {:+.3f}".format(*pair.ci95) if pair.ci95 else interval(None)
        pairs.append((names, difference, ends, p_value(pair.p), p_value(pair.p_holm)))
    caption = (
        "Same seeds and folds. p: how often exchanging the two networks' results, subject by subject, gives as large a "
        f"difference; Holm: corrected for the number of pairs. {not_counted(found.not_counted)}"
    ).strip()
    table = Table(("difference", "UF1", "95 % interval", "p", "p, Holm"), pairs, caption)
    lines = changes_lines((each.name, each.changed) for each in found.networks)
    return [network_table(found.networks), *map(Text, lines), table]
