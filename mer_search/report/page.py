"""report.html of a confirmation: one self-contained page."""

import base64
import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from mer_search.files import write_whole
from mer_search.report.figures import confusion_png, subjects_png
from mer_search.report.summaries import LEGEND, TITLES, summary_rows, verdict
from mer_search.report.verdicts import gap
from mer_search.search.confirm import Confirmation
from mer_search.search.summary import averaged
from mer_search.training.metrics import confusion, scores
from mer_search.training.predictions import Predictions

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #8885; }
td:nth-child(n+3), th:nth-child(n+3) { text-align: right; font-variant-numeric: tabular-nums; }
tr.headline { font-weight: bold; } img { max-width: 100%; background: white; } .note { color: GrayText; }
.warning { border-left: .3rem solid orange; padding-left: .8rem; }
"""


def page(summary: dict[str, Any], pictures: Sequence[tuple[str, bytes]]) -> str:
    """The page's HTML.

    Args:
        summary: what summary.json holds.
        pictures: (caption, PNG bytes).
    """
    columns = ("estimate", "subjects", "UF1", "sd", "95 % interval", "averaged")
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(
        f"<tr{' class=headline' if row[0] == TITLES['tail'] else ''}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in summary_rows(summary)
    )
    synthetic = "<p class=warning>These clips are synthetic: no figure here says anything about real faces.</p>"
    figures = "".join(
        f"<h2>{html.escape(caption)}</h2><img alt='{html.escape(caption)}' "
        f"src='data:image/png;base64,{base64.b64encode(picture).decode()}'>"
        for caption, picture in pictures
    )
    return f"""<!doctype html><html lang=en><meta charset=utf-8>
<meta name=viewport content="width=device-width"><title>{html.escape(summary["title"])}</title><style>{STYLE}</style>
<h1>{html.escape(summary["title"])}</h1>
<p>{html.escape(summary["dataset"])}: {summary["n_clips"]} clips, {summary["n_subjects"]} subjects,
seeds {", ".join(map(str, summary["seeds"]))}; {summary["protocol"]}; {summary["epochs"]} epochs.</p>
{synthetic if summary["synthetic"] else ""}
<p>{"<br>".join(map(html.escape, [verdict(summary), *summary["verdict"], gap(summary)]))}</p>
<table><tr>{head}</tr>{body}</table>
<p class=note>UF1 is the mean over classes of 2TP / (2TP + FP + FN), counted over all subjects. {html.escape(LEGEND)}
It is shown to compare with papers, and is higher for that reason alone.</p>
{figures}</html>
"""


def write_report(confirmation: Confirmation, folds: Sequence[Predictions], summary: dict[str, Any]) -> None:
    """confusion.png and report.html in the confirmation's folder."""
    decided = averaged(folds)
    classes = confirmation.loaded.run.data.classes
    matrices = {
        subject: confusion(fold.labels, predicted, len(classes)) for subject, (fold, predicted) in decided.items()
    }
    picture = confusion_png(
        np.sum(list(matrices.values()), axis=0),
        classes,
        f"{summary['title']}, {summary['dataset']}: tail rule, seeds averaged",
    )
    bars = subjects_png(
        {subject: scores(matrix).uf1 for subject, matrix in matrices.items()},
        {subject: int(matrix.sum()) for subject, matrix in matrices.items()},
        confirmation.target.searched,
    )
    write_whole(confirmation.folder / "confusion.png", picture)
    write_whole(
        confirmation.folder / "report.html",
        page(summary, [("Confusion", picture), ("Subjects, the worst first (number of clips)", bars)]),
    )
