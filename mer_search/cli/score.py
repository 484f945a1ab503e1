"""The command that scores anybody's predictions."""

from pathlib import Path

import click

from mer_search.cli.options import Given, example, options, print_json


@click.command(epilog=example("mer-search score theirs.csv runs/demo/confirm/trial-7/megc_log.txt"))
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("second", metavar="[FILE2]", type=click.Path(path_type=Path), required=False)
@options("as_json")
def score(given: Given, file: Path, second: Path | None) -> None:
    """Score a log of predictions, whichever method it is of; two are compared in pairs on the clips they share.

    FILE is a log in MEGC 2019's format, such as a confirmation's megc_log.txt, or a table (.csv, .xlsx) with the
    columns subject, clip, truth and prediction, and perhaps epoch, with a row for each clip and epoch.
    """
    from mer_search.confirmation import score as scoring
    from mer_search.evaluation.logs import read_log
    from mer_search.report import predictions as report

    logs = [read_log(path) for path in (file, second) if path]
    scored = list(map(scoring.score, logs))
    compared = scoring.compare_logs(*logs) if second else None
    if given.as_json:
        print_json({"logs": [each.model_dump() for each in scored], "comparison": compared and compared.model_dump()})
    else:
        report.print_logs(scored, compared)
