"""Commands about the subjects of a dataset."""

from pathlib import Path

import click

from mer_search.cli.options import Commands, Given, example, options, print_json


@click.group(cls=Commands)
def subjects() -> None:
    """Which subjects are hard."""


@subjects.command(epilog=example("mer-search subjects rank runs/demo/confirm/trial-7"))
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@options("storage name as_json")
def rank(given: Given, folder: Path | None) -> None:
    """Subjects by how hard they were in a confirmation, and the hardest ten as a line for a study file. FOLDER is a
    confirmation's; without it the study's best one is taken."""
    from mer_search.confirmation.difficulty import rank, study_line
    from mer_search.confirmation.folders import confirmation
    from mer_search.confirmation.scoring import confirmed_folds
    from mer_search.report import terminal
    from mer_search.report.summaries import subjects_table

    folder = folder or confirmation(given.study(), None)
    rows = rank(confirmed_folds(folder).values())
    if given.as_json:
        print_json([row._asdict() for row in rows])
        return
    terminal.show(subjects_table(rows, f"{folder}: the hardest first"))
    terminal.out.print(study_line(rows))
