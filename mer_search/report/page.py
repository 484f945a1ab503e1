"""Pages of a confirmation and of a study."""

import json
from collections.abc import Sequence
from pathlib import Path

import optuna

from mer_search.config import Run
from mer_search.confirmation.compare import kept
from mer_search.confirmation.confirm import Confirmation
from mer_search.confirmation.mistakes import mistakes_csv, of_study
from mer_search.confirmation.summary import Summary, read_summary
from mer_search.errors import DataError
from mer_search.evaluation.predictions import Predictions
from mer_search.files import write_whole
from mer_search.report import confirmation as confirmation_page
from mer_search.report import methods, search
from mer_search.report import saliency as saliency_page
from mer_search.report.document import Block, Code, Document, Picture, Section, Text, to_html, write_markdown
from mer_search.search.storage import best_trial, results
from mer_search.search.trial import trial_folder
from mer_search.search.workspace import Loaded, Progress
from mer_search.training.fold_store import load_by_subject, read_config, read_history

NOTHING = (
    "No trial is confirmed yet. The search's own scores, of the best of many noisy trials on few subjects, look better "
    "than they are: run `mer-search confirm`, and then this report again."
)


def write_report(confirmation: Confirmation, folds: Sequence[Predictions], summary: Summary) -> dict[str, bytes]:
    """confusion.png and report.html in the confirmation's folder; the page's pictures by name."""
    history = read_history(confirmation.store)
    sections = confirmation_page.sections(summary, folds, history, confirmation.tuning)
    pictures = {block.name: block.png for section in sections for block in section.blocks if isinstance(block, Picture)}
    write_whole(confirmation.folder / "confusion.png", pictures["confusion"])
    document = Document(summary.title, confirmation_page.estimates(summary), sections)
    write_whole(confirmation.folder / "report.html", to_html(document))
    return pictures


def write_study(study: optuna.Study, folder: Path | None, progress: Progress) -> Path:
    """The report of a study in its results folder: report.html, the same as report.md, its trials as trials.csv, and
    the clips that all networks have wrong as always_wrong.csv.

    Args:
        folder: of the confirmation on all subjects that it tells of; None if there is none.
        progress: told of what the pictures of clips need.

    Returns:
        the page.
    """
    out = results(study)
    lead: list[Block] = [*([confirmation_page.SYNTHETIC] if study.user_attrs["synthetic"] else []), Text(NOTHING, True)]
    found: list[Section] = []
    wrong: list[Section] = []
    paper: list[Section] = []
    if run := _run(study, folder):
        clips, errors = saliency_page.clips_of(study, run, progress), of_study(study)
        wrong = [saliency_page.always_wrong(errors, run.data.classes, clips)]
        write_whole(out / "always_wrong.csv", mistakes_csv(errors, run.data.classes))
        if folder:
            lead, found, paper = _confirmed(study, folder, run, clips, progress)
    others = confirmation_page.compared(kept(out.parent, study.user_attrs["dataset"]))
    title = f"{study.study_name}: {study.user_attrs['dataset']}"
    document = Document(title, lead, [*found, *others, *wrong, *search.sections(study), *paper])
    write_whole(out / "report.html", to_html(document))
    write_markdown(document, out / "report.md")
    write_whole(out / "trials.csv", search.trials_csv(study))
    return out / "report.html"


def _run(study: optuna.Study, folder: Path | None) -> Run | None:
    """What the page tells of: the confirmed run, else the best trial's; None if there is neither."""
    best = best_trial(study)
    if folder is None and best:
        folder = trial_folder(results(study), best.number)
    return read_config(folder / "config.json") if folder else None


def _confirmed(
    study: optuna.Study, folder: Path, run: Run, clips: Loaded | Text, progress: Progress
) -> tuple[list[Block], list[Section], list[Section]]:
    """Of a confirmation of the run: what leads the page, its sections, and what is for a paper."""
    try:
        environment = json.loads((folder / "env.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} must hold a confirmation, but cannot be read ({error}); confirm it again") from error
    summary = read_summary(folder / "summary.json")
    folds = [fold for fold in load_by_subject(folder).values() if fold.seed in summary.seeds]
    tuning = [each for name in study.user_attrs["subjects"] for each in summary.databases.get(name, (name,))]
    text = methods.paragraph(run, summary, search.facts(study), environment)
    return (
        confirmation_page.estimates(summary),
        [
            *confirmation_page.sections(summary, folds, read_history(folder), tuning),
            saliency_page.looked_at(folder, folds, run, clips, progress),
        ],
        [Section("For a paper", [Text(text), Code(methods.latex(summary))])],
    )
