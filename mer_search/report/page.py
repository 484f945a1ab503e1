"""Pages of a confirmation and of a study."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from mer_search.errors import DataError
from mer_search.files import write_whole
from mer_search.report import confirmed, methods, searched
from mer_search.report.document import Block, Code, Document, Section, Text, to_html, write_markdown
from mer_search.search.confirm import Confirmation
from mer_search.search.storage import results
from mer_search.training.loso import PREDICTIONS, read_config, read_history
from mer_search.training.predictions import Predictions, load

NOTHING = (
    "No trial is confirmed yet. The search's own scores, of the best of many noisy trials on few subjects, look better "
    "than they are: run `mer-search confirm`, and then this report again."
)


def write_report(confirmation: Confirmation, folds: Sequence[Predictions], summary: dict[str, Any]) -> None:
    """confusion.png and report.html in the confirmation's folder."""
    history = read_history(confirmation.store)
    document = Document(
        summary["title"],
        confirmed.estimates(summary),
        confirmed.sections(summary, folds, history, confirmation.target.searched),
    )
    write_whole(confirmation.folder / "confusion.png", confirmed.confusion(summary, folds))
    write_whole(confirmation.folder / "report.html", to_html(document))


def write_study(study: optuna.Study, folder: Path | None) -> Path:
    """The report of a study in its results folder: report.html, the same as report.md, and its trials as trials.csv.

    Args:
        folder: of the confirmation on all subjects that it tells of; None if there is none.

    Returns:
        the page.
    """
    unconfirmed: list[Block] = [*([confirmed.SYNTHETIC] if study.user_attrs["synthetic"] else []), Text(NOTHING, True)]
    lead, found, paper = _confirmed(study, folder) if folder else (unconfirmed, [], [])
    title = f"{study.study_name}: {study.user_attrs['dataset']}"
    document = Document(title, lead, [*found, *searched.sections(study), *paper])
    out = results(study)
    write_whole(out / "report.html", to_html(document))
    write_markdown(document, out / "report.md")
    write_whole(out / "trials.csv", searched.trials_csv(study))
    return out / "report.html"


def _confirmed(study: optuna.Study, folder: Path) -> tuple[list[Block], list[Section], list[Section]]:
    """Of a confirmation: what leads the page, its sections, and what is for a paper."""
    try:
        summary, environment = (json.loads((folder / name).read_text()) for name in ("summary.json", "env.json"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} must hold a confirmation, but cannot be read ({error}); confirm it again") from error
    folds = [fold for fold in load(folder / PREDICTIONS) if fold.seed in summary["seeds"]]
    text = methods.paragraph(read_config(folder / "config.json"), summary, searched.facts(study), environment)
    return (
        confirmed.estimates(summary),
        confirmed.sections(summary, folds, read_history(folder), study.user_attrs["subjects"]),
        [Section("For a paper", [Text(text), Code(methods.latex(summary))])],
    )
