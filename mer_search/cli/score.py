"""The command that scores anybody's predictions."""

import json
from pathlib import Path

import click

from mer_search.cli.options import example, options


@click.command(epilog=example("mer-search score theirs.csv runs/demo/confirm/trial-7/megc_log.txt"))
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("second", metavar="[FILE2]", type=click.Path(path_type=Path), required=False)
@options("json")
def score(file: Path, second: Path | None, as_json: bool) -> None:
    """Score a log of predictions, whichever method it is of; two are compared in pairs on the clips they share.

    FILE is a log in MEGC 2019's format, such as a confirmation's megc_log.txt, or a table (.csv, .xlsx) with the
    columns subject, clip, truth and prediction, and perhaps epoch, with a row for each clip and epoch.
    """
    from mer_search.confirmation import score as scoring
    from mer_search.evaluation.logs import read_log
    from mer_search.report import score as report

    logs = [read_log(path) for path in (file, second) if path]
    scored = list(map(scoring.score, logs))
    compared = scoring.compare_logs(*logs) if second else None
    if as_json:
        facts = {"logs": [each.model_dump() for each in scored], "comparison": compared and compared.model_dump()}
        click.echo(json.dumps(facts, indent=1))
    else:
        report.print_logs(scored, compared)
