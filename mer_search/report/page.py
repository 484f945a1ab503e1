"""Pages of a confirmation, of a comparison and of a study."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from mer_search.config import Run
from mer_search.confirmation.compare import kept
from mer_search.confirmation.confirm import Confirmation
from mer_search.confirmation.difficulty import mistakes_csv, of_study
from mer_search.confirmation.folders import confirmation as confirmation_of
from mer_search.confirmation.folders import confirmations
from mer_search.confirmation.scoring import confirmed_folds
from mer_search.confirmation.summary import Comparison, Summary, read_summary
from mer_search.errors import DataError
from mer_search.evaluation.predictions import Predictions
from mer_search.files import write_whole
from mer_search.report import confirmation as confirmation_page
from mer_search.report import methods, search
from mer_search.report import saliency as saliency_page
from mer_search.report.document import Document, Picture, Section, Text, write_document
from mer_search.search.storage import best_trial, results
from mer_search.search.trial import trial_folder
from mer_search.search.workspace import Progress
from mer_search.training.fold_store import read_config, read_history

NOTHING = Text(
    "The search's own scores, of the best of many noisy trials on few subjects, look better than they are: run "
    "`mer-search confirm`, and then this report again.",
    "unsure",
    "No trial is confirmed on all subjects yet.",
)


def write_report(confirmation: Confirmation, folds: Sequence[Predictions], summary: Summary) -> dict[str, bytes]:
    """report.html in the confirmation's folder, the same as report.md; the page's pictures, as PNG, by name."""
    lead, history = confirmation_page.result(summary), read_history(confirmation.store)
    sections = confirmation_page.sections(summary, folds, history, confirmation.tuning)
    write_document(Document(summary.title, lead, sections), confirmation.folder / "report.html")
    blocks = [*lead, *(block for section in sections for block in section.blocks)]
    drawings = {name: each for block in blocks if isinstance(block, Picture) for name, each in block.files().items()}
    return {name: drawing("png") for name, drawing in drawings.items()}


def write_comparison(found: Comparison, page: Path) -> Path:
    """The page of a comparison, the same as Markdown."""
    names = " against ".join(each.name for each in found.networks)
    lead = confirmation_page.lead(found.synthetic, confirmation_page.forest(found))
    section = Section(found.dataset, confirmation_page.comparison(found))
    return write_document(Document(names, lead, [section]), page)


def write_study(study: optuna.Study, trial: int | None, progress: Progress) -> Path:
    """The report of a study in its results folder: report.html, the same as report.md, its trials as trials.csv, and
    the clips that all networks have wrong as always_wrong.csv.

    Args:
        trial: a confirmed one that the page is of; None for the best of those that are confirmed, if any is.
        progress: told of what the pictures of clips need.

    Returns:
        the page.

    Raises:
        UsageError: if the trial is not confirmed.
        DataError: if a confirmation cannot be read.
    """
    out = results(study)
    summaries = {number: read_summary(path / "summary.json") for number, path in confirmations(study).items()}
    ranked = sorted(summaries, key=lambda number: summaries[number].tail.uf1, reverse=True)
    trial = ranked[0] if trial is None and ranked else trial
    folder = None if trial is None else confirmation_of(study, trial)
    lead = confirmation_page.lead(study.user_attrs["synthetic"], NOTHING)
    found: list[Section] = []
    faces: list[Section] = []
    paper: list[Section] = []
    if run := _run(study, folder):
        clips, errors = saliency_page.clips_of(study, run, progress), of_study(study)
        if folder and trial is not None:
            summary, asked = summaries[trial], list(confirmed_folds(folder).values())
            tuning = [each for name in study.user_attrs["subjects"] for each in summary.databases.get(name, (name,))]
            lead = confirmation_page.result(summary)
            found = [
                *confirmation_page.chosen([summaries[number] for number in ranked], summary),
                *confirmation_page.sections(summary, asked, read_history(folder), tuning),
            ]
            faces = [saliency_page.looked_at(folder, asked, run, clips, progress)]
            paper = [methods.section(run, summary, search.facts(study), _environment(folder))]
        faces.append(saliency_page.always_wrong(errors, run.data.classes, clips))
        write_whole(out / "always_wrong.csv", mistakes_csv(errors, run.data.classes))
    progress("drawing charts", 0, 1)
    others = confirmation_page.compared(kept(out.parent, study.user_attrs["dataset"]))
    title = f"{study.study_name}: {study.user_attrs['dataset']}"
    document = Document(title, lead, [*found, *search.sections(study), *others, *faces, *paper])
    write_whole(out / "trials.csv", search.trials_csv(study))
    return write_document(document, out / "report.html")


def _run(study: optuna.Study, folder: Path | None) -> Run | None:
    """What the page tells of: the confirmed run, else the best trial's; None if there is neither."""
    best = best_trial(study)
    if folder is None and best:
        folder = trial_folder(results(study), best.number)
    return read_config(folder / "config.json") if folder else None


def _environment(folder: Path) -> dict[str, Any]:
    """What a confirmation was computed with."""
    try:
        return dict(json.loads((folder / "env.json").read_text()))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} must hold a confirmation, but cannot be read ({error}); confirm it again") from error
